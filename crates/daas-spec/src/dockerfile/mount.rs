use super::flags::read_bool;
use crate::nearest::nearest;

/// A `RUN --mount` with everything put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Where; as written, relative to the working directory. Empty where it has a default.
    pub target: String,
    /// Whether the command may not write to it; what it writes to a bind is thrown away.
    pub read_only: bool,
}

/// What a mount brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, of a stage, an image or a named context.
    Bind {
        /// A stage's name or number, an image or a context; the build's own context if absent.
        from: Option<String>,
        /// The path in it; the root if empty.
        source: String,
    },
    /// A folder that outlives the build.
    Cache {
        /// Which cache; the target's path if absent.
        id: Option<String>,
        /// What it begins with when it is new.
        from: Option<String>,
        /// The path in `from`.
        source: String,
        /// Who may use it at one time.
        sharing: Sharing,
        /// The mode of a new folder; 0755 if absent.
        mode: Option<u32>,
        /// Its owner; root if absent.
        uid: Option<u32>,
        /// Its group; root if absent.
        gid: Option<u32>,
    },
    /// Memory, thrown away behind the command.
    Tmpfs {
        /// The most bytes; the stand's own limit if absent.
        size: Option<u64>,
    },
    /// A secret of the build.
    Secret {
        /// Which; the last part of the target if absent.
        id: Option<String>,
        /// The variable that holds it; a file is mounted as well only if `target` is not empty.
        env: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// The file's mode; 0400 if absent.
        mode: Option<u32>,
        /// Its owner; root if absent.
        uid: Option<u32>,
        /// Its group; root if absent.
        gid: Option<u32>,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Which; `default` if absent.
        id: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// The socket's mode; 0600 if absent.
        mode: Option<u32>,
        /// Its owner; root if absent.
        uid: Option<u32>,
        /// Its group; root if absent.
        gid: Option<u32>,
    },
}

/// Who may use a cache at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// One at a time; a second one gets a cache of its own.
    Private,
    /// One at a time; a second one waits.
    Locked,
}

/// Why a mount is refused: what is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountFault {
    pub(crate) message: String,
    pub(crate) hint: String,
}

fn fault<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, MountFault> {
    Err(MountFault {
        message: message.into(),
        hint: hint.into(),
    })
}

const KEYS: [&str; 20] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
    "",
];
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// The keys of a mount before its kind is looked at.
#[derive(Default)]
struct Draft {
    kind: Option<String>,
    from: Option<String>,
    source: String,
    target: String,
    read_only: Option<bool>,
    required: bool,
    size: Option<u64>,
    id: Option<String>,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    env: Option<String>,
}

/// Reads the value of a `--mount`; `expand` puts variables into each value.
pub(crate) fn read<E: From<MountFault>>(
    text: &str,
    mut expand: impl FnMut(&str) -> Result<String, E>,
) -> Result<Mount, E> {
    let mut draft = Draft::default();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(expand(value)?)),
            None => (field.to_lowercase(), None),
        };
        match value {
            Some(value) => draft.set(&key, value)?,
            None => draft.set_bare(&key)?,
        }
    }
    Ok(draft.finish()?)
}

/// Returns the value of `from` as it is written, for the graph of stages; never expanded.
pub(crate) fn from_of(text: &str) -> Option<String> {
    fields(text)
        .ok()?
        .into_iter()
        .rev()
        .find_map(|f| match f.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("from") => Some(value.to_owned()),
            _ => None,
        })
        .filter(|f| !f.is_empty())
}

/// Splits a line of comma separated values (RFC 4180).
fn fields(text: &str) -> Result<Vec<String>, MountFault> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let (field, behind) = match rest.split_once(',') {
                    Some((field, behind)) => (field, Some(behind)),
                    None => (rest, None),
                };
                if field.contains('"') {
                    return fault(
                        "a quote stands within a value",
                        "quote the whole of `key=value`, or leave the quotes out",
                    );
                }
                (field.to_owned(), behind)
            }
        };
        found.push(field);
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(found),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, Option<&str>), MountFault> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((part, behind)) = rest.split_once('"') else {
            return fault("a quote is not closed", "close it before the comma");
        };
        field.push_str(part);
        if let Some(behind) = behind.strip_prefix('"') {
            field.push('"');
            rest = behind;
        } else if behind.is_empty() {
            return Ok((field, None));
        } else if let Some(behind) = behind.strip_prefix(',') {
            return Ok((field, Some(behind)));
        } else {
            return fault(
                "something stands behind a closing quote",
                "put a comma between two keys",
            );
        }
    }
}

impl Draft {
    fn set_bare(&mut self, key: &str) -> Result<(), MountFault> {
        match key {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => self.required = true,
            _ => {
                return fault(
                    format!("`{}` has no value", super::file::short(key)),
                    "write `key=value`; only `ro`, `rw` and `required` stand alone",
                );
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), MountFault> {
        match key {
            "type" => {
                let kind = value.to_lowercase();
                if !KINDS.contains(&kind.as_str()) {
                    return fault(
                        format!("there is no mount of type `{}`", super::file::short(&value)),
                        match nearest(&kind, KINDS) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!("it is one of {}", KINDS.join(", ")),
                        },
                    );
                }
                self.kind = Some(kind);
            }
            "from" => self.from = Some(value).filter(|v| !v.is_empty()),
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => self.read_only = Some(truth(key, &value)?),
            "readwrite" | "rw" => self.read_only = Some(!truth(key, &value)?),
            "required" => self.required = truth(key, &value)?,
            "size" => self.size = Some(size(&value)?),
            "id" => self.id = Some(value).filter(|v| !v.is_empty()),
            "sharing" => {
                self.sharing = Some(match value.to_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => {
                        return fault(
                            format!("a cache is not shared as `{}`", super::file::short(&value)),
                            "it is one of shared, private, locked",
                        );
                    }
                });
            }
            "mode" => self.mode = Some(number(key, &value, 8)?),
            "uid" => self.uid = Some(number(key, &value, 10)?),
            "gid" => self.gid = Some(number(key, &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                return fault(
                    format!("a mount has no key `{}`", super::file::short(key)),
                    match nearest(key, KEYS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("it has {}", KEYS[..KEYS.len() - 1].join(", ")),
                    },
                );
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Mount, MountFault> {
        let kind = self.kind.clone().unwrap_or_else(|| "bind".to_owned());
        self.refuse_foreign(&kind)?;
        let Self {
            from,
            source,
            target,
            id,
            mode,
            uid,
            gid,
            ..
        } = self;
        // An empty name of a variable is the default one.
        let env = self.env.map(|env| {
            let base = target.rsplit('/').next().unwrap_or_default();
            let name = id
                .as_deref()
                .or(Some(source.as_str()).filter(|s| !s.is_empty()));
            if env.is_empty() {
                name.unwrap_or(base).to_owned()
            } else {
                env
            }
        });
        let writable = kind == "cache" || kind == "tmpfs";
        let read_only = self.read_only.unwrap_or(!writable);
        let kind = match kind.as_str() {
            "cache" => MountKind::Cache {
                id,
                from,
                source,
                sharing: self.sharing.unwrap_or_default(),
                mode,
                uid,
                gid,
            },
            "tmpfs" => MountKind::Tmpfs { size: self.size },
            "secret" => MountKind::Secret {
                id: id.or(Some(source).filter(|s| !s.is_empty())),
                env,
                required: self.required,
                mode,
                uid,
                gid,
            },
            "ssh" => MountKind::Ssh {
                id: id.or(Some(source).filter(|s| !s.is_empty())),
                required: self.required,
                mode,
                uid,
                gid,
            },
            _ => MountKind::Bind { from, source },
        };
        Ok(Mount {
            kind,
            target,
            read_only,
        })
    }

    /// Refuses keys that the kind does not have.
    fn refuse_foreign(&self, kind: &str) -> Result<(), MountFault> {
        let owned = self.mode.is_some() || self.uid.is_some() || self.gid.is_some();
        for (given, key, kinds) in [
            (self.required, "required", &["secret", "ssh"][..]),
            (self.size.is_some(), "size", &["tmpfs"]),
            (self.sharing.is_some(), "sharing", &["cache"]),
            (owned, "mode, uid, gid", &["cache", "secret", "ssh"]),
        ] {
            if given && !kinds.contains(&kind) {
                return fault(
                    format!("a mount of type `{kind}` has no {key}"),
                    format!("only {} have", kinds.join(" and ")),
                );
            }
        }
        if kind == "secret" {
            if self.from.is_some() {
                return fault("a secret comes from no stage", "leave `from` out");
            }
            if self.source.is_empty() && self.target.is_empty() && self.id.is_none() {
                return fault("the secret has no name", "write `id=NAME`");
            }
            if !self.source.is_empty() && self.id.is_some() {
                return fault("the secret has both `id` and `source`", "keep `id`");
            }
        }
        Ok(())
    }
}

fn truth(key: &str, value: &str) -> Result<bool, MountFault> {
    match read_bool(value) {
        Some(truth) => Ok(truth),
        None => fault(
            format!("`{key}` is neither true nor false"),
            "write `true` or `false`",
        ),
    }
}

fn number(key: &str, value: &str, base: u32) -> Result<u32, MountFault> {
    // A sign is no digit, though Rust would take it.
    match u32::from_str_radix(value, base)
        .ok()
        .filter(|_| !value.starts_with('+'))
    {
        Some(number) => Ok(number),
        None => fault(
            format!("`{key}` is no number: `{}`", super::file::short(value)),
            if base == 8 {
                "write it in octal, as in `0755`"
            } else {
                "write digits; names are not known before the image is"
            },
        ),
    }
}

/// Reads a size as Docker does: `64m`, `1.5g`, `10KiB`; every unit counts by 1024.
fn size(text: &str) -> Result<u64, MountFault> {
    read_size(text).map_or_else(
        || {
            fault(
                format!("`size` is no size: `{}`", super::file::short(text)),
                "write for example `size=64m`",
            )
        },
        Ok,
    )
}

fn read_size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let scale = 1024_u128.pow(power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = &fraction[..fraction.len().min(12)];
    let whole = whole.parse::<u128>().ok()?.checked_mul(scale)?;
    let part = if fraction.is_empty() {
        0
    } else {
        let tens = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        fraction.parse::<u128>().ok()? * scale / tens
    };
    u64::try_from(whole + part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> Result<Mount, MountFault> {
        read(text, |value| Ok(value.to_owned()))
    }

    #[test]
    fn every_kind_of_mount_has_its_keys_and_defaults() {
        assert_eq!(
            mount("target=/x").unwrap(),
            Mount {
                kind: MountKind::Bind {
                    from: None,
                    source: String::new()
                },
                target: "/x".into(),
                read_only: true
            }
        );
        assert_eq!(
            mount("type=bind,from=a,src=b,dst=c,rw").unwrap(),
            Mount {
                kind: MountKind::Bind {
                    from: Some("a".into()),
                    source: "b".into()
                },
                target: "c".into(),
                read_only: false
            }
        );
        let cache =
            mount("type=cache,target=/c,id=k,sharing=locked,mode=0700,uid=1,gid=2").unwrap();
        assert_eq!(
            cache.kind,
            MountKind::Cache {
                id: Some("k".into()),
                from: None,
                source: String::new(),
                sharing: Sharing::Locked,
                mode: Some(0o700),
                uid: Some(1),
                gid: Some(2)
            }
        );
        assert!(!cache.read_only);
        assert_eq!(
            mount("type=tmpfs,target=/t,size=1.5k").unwrap().kind,
            MountKind::Tmpfs { size: Some(1536) }
        );
        assert!(matches!(
            mount("type=secret,id=s,env=TOKEN,required").unwrap().kind,
            MountKind::Secret { id: Some(id), env: Some(env), required: true, .. } if id == "s" && env == "TOKEN"
        ));
        assert!(matches!(
            mount("type=ssh").unwrap().kind,
            MountKind::Ssh {
                id: None,
                required: false,
                ..
            }
        ));
        assert_eq!(
            mount("type=bind,\"target=/a,b\",ro=false").unwrap().target,
            "/a,b"
        );
    }

    #[test]
    fn a_mount_that_makes_no_sense_is_refused_with_a_hint() {
        let told = |text| {
            let fault = mount(text).unwrap_err();
            format!("{}; {}", fault.message, fault.hint)
        };
        insta::assert_snapshot!(
            ["type=cashe,target=/x", "targt=/x", "type=bind,target", "type=bind,size=1", "type=tmpfs,uid=1",
             "type=secret", "type=secret,id=a,source=b", "type=secret,id=a,from=b", "type=cache,sharing=mine",
             "type=cache,mode=9", "type=cache,uid=root", "type=tmpfs,size=much", "type=bind,ro=perhaps",
             "type=bind,a\"b=c", "\"type=bind", "\"type=bind\"x", "type=bind,required"]
            .map(told).join("\n"),
            @"
        there is no mount of type `cashe`; did you mean `cache`?
        a mount has no key `targt`; did you mean `target`?
        `target` has no value; write `key=value`; only `ro`, `rw` and `required` stand alone
        a mount of type `bind` has no size; only tmpfs have
        a mount of type `tmpfs` has no mode, uid, gid; only cache and secret and ssh have
        the secret has no name; write `id=NAME`
        the secret has both `id` and `source`; keep `id`
        a secret comes from no stage; leave `from` out
        a cache is not shared as `mine`; it is one of shared, private, locked
        `mode` is no number: `9`; write it in octal, as in `0755`
        `uid` is no number: `root`; write digits; names are not known before the image is
        `size` is no size: `much`; write for example `size=64m`
        `ro` is neither true nor false; write `true` or `false`
        a quote stands within a value; quote the whole of `key=value`, or leave the quotes out
        a quote is not closed; close it before the comma
        something stands behind a closing quote; put a comma between two keys
        a mount of type `bind` has no required; only secret and ssh have
        "
        );
    }
}
