use crate::{Image, ImageError};
use serde::{Deserialize, Serialize};

/// The last id that the user namespace of a stand maps.
const LAST_ID: u32 = 65_535;
/// Largest `/etc/passwd` or `/etc/group` that is looked at, in bytes.
const MAX_TABLE: u64 = 4 << 20;

/// Who a process of a node is, in numbers of the node's own user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIds {
    /// The user.
    pub uid: u32,
    /// The main group.
    pub gid: u32,
    /// All groups, the main one too, ascending.
    pub groups: Vec<u32>,
    /// The home directory, `/` if the image tells none.
    pub home: String,
    /// The user's name, if the image knows one.
    pub name: Option<String>,
}

struct User<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t str,
}

struct Group<'t> {
    name: &'t str,
    gid: u32,
    members: &'t str,
}

impl Image {
    /// Turns `user`, `uid`, `user:group` or any mixture, and further groups, into numbers by the image's own tables.
    ///
    /// As Docker does: an empty `spec` is root, an unknown number is taken as it is with group 0, a named group replaces the
    /// groups that the user is a member of, and `group_add` comes on top. Only the layers are read; what a running node has
    /// changed in its tables is not seen.
    ///
    /// # Errors
    /// [`ImageError::NoUser`] for a name that the tables do not have; [`ImageError::BadUser`] for a number beyond 65,535
    /// (threat S30) and for nonsense; [`ImageError::Io`] if the tables cannot be read.
    pub fn lookup_user<S: AsRef<str>>(
        &self,
        spec: &str,
        group_add: &[S],
    ) -> Result<UserIds, ImageError> {
        let table = |path| {
            Ok::<_, ImageError>(
                self.read_file(path, MAX_TABLE)?
                    .map(|b| String::from_utf8_lossy(&b).into_owned())
                    .unwrap_or_default(),
            )
        };
        let image = self.digest.to_string();
        find(
            &image,
            &table("/etc/passwd")?,
            &table("/etc/group")?,
            spec,
            group_add,
        )
    }
}

fn find<S: AsRef<str>>(
    image: &str,
    passwd: &str,
    group: &str,
    spec: &str,
    group_add: &[S],
) -> Result<UserIds, ImageError> {
    let (user_spec, group_spec) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let missing = |kind, name: &str| ImageError::NoUser {
        image: image.to_owned(),
        kind,
        name: name.escape_debug().to_string(),
    };
    let user_spec = if user_spec.is_empty() { "0" } else { user_spec };
    let number = parse_id(spec, user_spec)?;
    let known = users(passwd).find(|u| u.name == user_spec || number == Some(u.uid));
    let (uid, mut gid, home, name) = match (known, number) {
        (Some(user), _) => (user.uid, user.gid, user.home, Some(user.name)),
        (None, Some(uid)) => (uid, 0, "", None),
        (None, None) => return Err(missing("user", user_spec)),
    };
    let mut ids = Vec::new();
    match group_spec {
        Some(wanted) => {
            gid = group_id(spec, group, wanted)?.ok_or_else(|| missing("group", wanted))?;
        }
        None => ids.extend(name.iter().flat_map(|name| {
            groups(group)
                .filter(move |g| g.members.split(',').any(|m| m == *name))
                .map(|g| g.gid)
        })),
    }
    for wanted in group_add {
        let wanted = wanted.as_ref();
        ids.push(group_id(wanted, group, wanted)?.ok_or_else(|| missing("group", wanted))?);
    }
    ids.push(gid);
    ids.sort_unstable();
    ids.dedup();
    if uid > LAST_ID || ids.last().is_some_and(|last| *last > LAST_ID) {
        return Err(beyond(spec));
    }
    // A relative home is one that nobody can go to.
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(UserIds {
        uid,
        gid,
        groups: ids,
        home: home.to_owned(),
        name: name.map(str::to_owned),
    })
}

fn beyond(spec: &str) -> ImageError {
    ImageError::BadUser {
        spec: spec.escape_debug().to_string(),
        why: "a stand has the ids 0 to 65535",
    }
}

/// Reads a number, or tells that it is a name.
fn parse_id(spec: &str, text: &str) -> Result<Option<u32>, ImageError> {
    let bad = |why| ImageError::BadUser {
        spec: spec.escape_debug().to_string(),
        why,
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse::<u32>() {
            Ok(id) if id <= LAST_ID => Ok(Some(id)),
            _ => Err(beyond(spec)),
        };
    }
    if text.starts_with(['-', '+']) {
        return Err(bad("a name does not begin so, and a number has no sign"));
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '/') {
        return Err(bad("no name has such characters"));
    }
    Ok(None)
}

fn group_id(spec: &str, table: &str, wanted: &str) -> Result<Option<u32>, ImageError> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let number = parse_id(spec, wanted)?;
    Ok(groups(table)
        .find(|g| g.name == wanted)
        .map(|g| g.gid)
        .or(number))
}

/// passwd(5): name:password:uid:gid:comment:home:shell. Lines that break the form are skipped, as the C library does.
fn users(table: &str) -> impl Iterator<Item = User<'_>> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let (_, home) = (fields.next(), fields.next());
        (!name.is_empty()).then_some(User {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: home.unwrap_or_default(),
        })
    })
}

/// group(5): name:password:gid:members.
fn groups(table: &str) -> impl Iterator<Item = Group<'_>> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid, members) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next().unwrap_or_default(),
        );
        (!name.is_empty()).then_some(Group {
            name,
            gid: gid.parse().ok()?,
            members,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_model::Explain;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:1:1::/:\nredis:x:999:998:Redis:/data:/bin/false\nwide:x:70000:5::/w:/bin/sh\nhomeless:x:7:7\nrel:x:8:8::home:/bin/sh";
    const GROUP: &str = "root:x:0:\naudio:x:29:redis,other\nvideo:x:44:root\nredis:x:998:\nbig:x:99999:\nstaff:x:50:redis";

    fn lookup(spec: &str, more: &[&str]) -> Result<UserIds, ImageError> {
        find("x", PASSWD, GROUP, spec, more)
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        let facts = |ids: UserIds| (ids.uid, ids.gid, ids.groups, ids.home);
        assert_eq!(
            facts(lookup("", &[]).unwrap()),
            (0, 0, vec![0, 44], "/root".into())
        );
        assert_eq!(
            facts(lookup("redis", &[]).unwrap()),
            (999, 998, vec![29, 50, 998], "/data".into())
        );
        assert_eq!(
            facts(lookup("999", &[]).unwrap()),
            (999, 998, vec![29, 50, 998], "/data".into())
        );
        assert_eq!(
            facts(lookup("redis:redis", &["audio", "12"]).unwrap()),
            (999, 998, vec![12, 29, 998], "/data".into())
        );
        assert_eq!(
            facts(lookup("redis:0", &[]).unwrap()),
            (999, 0, vec![0], "/data".into())
        );
        assert_eq!(
            facts(lookup("1234", &[]).unwrap()),
            (1234, 0, vec![0], "/".into())
        );
        assert_eq!(
            facts(lookup("1234:5678", &[]).unwrap()),
            (1234, 5678, vec![5678], "/".into())
        );
        assert_eq!(
            facts(lookup(":audio", &[]).unwrap()),
            (0, 29, vec![29], "/root".into())
        );
        assert_eq!(
            facts(lookup("redis:", &[]).unwrap()),
            (999, 998, vec![29, 50, 998], "/data".into())
        );
        assert_eq!(
            facts(lookup("homeless", &[]).unwrap()),
            (7, 7, vec![7], "/".into())
        );
        assert_eq!(
            facts(lookup("rel", &[]).unwrap()),
            (8, 8, vec![8], "/".into())
        );
    }

    #[test]
    fn ids_that_a_stand_does_not_have_are_refused() {
        for spec in [
            "65536",
            "4294967295",
            "4294967296",
            "-1",
            "+1",
            "wide",
            "0:65536",
            "0:big",
            "99999999999999999999",
            "a b",
            "../x",
            "root\n",
        ] {
            assert_eq!(
                lookup(spec, &[]).unwrap_err().code(),
                "image-user",
                "{spec}"
            );
        }
        assert_eq!(lookup("0", &["big"]).unwrap_err().code(), "image-user");
        assert_eq!(
            lookup("nobody-here", &[]).unwrap_err().code(),
            "image-user-not-found"
        );
        assert_eq!(
            lookup("root:nobody-here", &[]).unwrap_err().code(),
            "image-user-not-found"
        );
        assert_eq!(lookup("65535:65535", &[]).unwrap().uid, 65535);
    }
}
