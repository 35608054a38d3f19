use crate::complain;
use crate::disk_files::DiskFiles;
use crate::exit;
use crate::stop::Stop;
use crate::talk::Talk;
use clap::Args;
use daas_api::{BytesText, DiagnosticView, LimitsSource, ProjectSource};
use daas_model::{ByteSize, Cpus, Egress, Severity, Span, StandKind};
use daas_spec::{LimitsOver, Outcome, ProjectRequest, read_project};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Which project, and how it is read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProjectArgs {
    /// The compose file; several may be given, later ones stand above earlier ones; `-` is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The project's folder [default: the folder of the first file].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) project_directory: Option<PathBuf>,
    /// The project's name [default: `name:` of the file, or the folder's name].
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Turns a profile on; `*` turns all on.
    #[arg(long = "profile", value_name = "PROFILE")]
    pub(crate) profiles: Vec<String>,
    /// A file of variables instead of `.env`.
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// How many nodes a service has, `web=3`.
    #[arg(long, value_name = "SERVICE=N", value_parser = parse_scale)]
    pub(crate) scale: Vec<(String, u32)>,
    /// What the stand is for: test, review, job, build, service or production.
    #[arg(long, value_name = "KIND", default_value = "test", value_parser = parse_kind, hide_default_value = true)]
    pub(crate) kind: StandKind,
    /// How long the stand lives: `30min`, `8h`, `2d`.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(crate) ttl: Option<Span>,
    /// Which way out the stand has: none, proxy or full.
    #[arg(long, value_name = "WAY", value_parser = parse_egress)]
    pub(crate) egress: Option<Egress>,
    /// The stand's CPUs, `2` or `0.5`.
    #[arg(long, value_name = "N", value_parser = |text: &str| Cpus::parse(text))]
    pub(crate) cpus: Option<Cpus>,
    /// The stand's memory, `512 MiB`.
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| ByteSize::parse(text))]
    pub(crate) memory: Option<ByteSize>,
    /// The stand's processes and threads.
    #[arg(long, value_name = "N")]
    pub(crate) pids: Option<u32>,
    /// The stand's disk, `10 GiB`.
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| ByteSize::parse(text))]
    pub(crate) disk: Option<ByteSize>,
}

/// Reads `service=number`.
pub(crate) fn parse_scale(text: &str) -> Result<(String, u32), String> {
    let (service, number) = text
        .split_once('=')
        .ok_or("write `service=number`, for example `web=3`")?;
    let number = number
        .parse()
        .map_err(|_| format!("`{}` is no number of nodes", number.escape_debug()))?;
    Ok((service.to_owned(), number))
}

fn parse_kind(text: &str) -> Result<StandKind, String> {
    word(
        text,
        "a kind of stand: test, review, job, build, service or production",
    )
}

fn parse_egress(text: &str) -> Result<Egress, String> {
    word(text, "a way out: none, proxy or full")
}

/// Reads a word of the model by its JSON form.
fn word<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| format!("`{}` is not {what}", text.escape_debug()))
}

/// Reads a length of time; `min` is taken for `m`, as people write it.
pub(crate) fn parse_span(text: &str) -> Result<Span, String> {
    Span::parse(&text.replace("min", "m")).map_err(|error| error.to_string())
}

/// The names that a compose file has (Compose Specification, "Compose file").
const USUAL: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// A project that was read here.
pub(crate) struct ReadProject {
    /// What the daemon reads again.
    pub(crate) source: ProjectSource,
    /// What was found.
    pub(crate) outcome: Outcome,
}

impl ProjectArgs {
    /// Reads the project from this machine's disk.
    pub(crate) fn read(&self) -> Result<ReadProject, Stop> {
        let here = std::env::current_dir().map_err(Stop::io("find", "the folder"))?;
        let (request, files) = self.request(&here)?;
        let outcome = read_project(&files, &request);
        Ok(ReadProject {
            source: source(&request, &outcome),
            outcome,
        })
    }

    /// Reads the project; tells all faults and ends if any stands in the way.
    ///
    /// What only an administrator may allow is left to the daemon, which knows what was granted.
    pub(crate) fn read_or_complain(&self, talk: &Talk) -> Result<ReadProject, Stop> {
        let read = self.read()?;
        let faults: Vec<DiagnosticView> = read
            .outcome
            .diagnostics
            .iter()
            .map(DiagnosticView::from)
            .collect();
        let hopeless = read
            .outcome
            .diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error && d.code != GRANT_MISSING);
        if hopeless {
            if talk.json {
                let failure = daas_api::Failure::of_project(&read.outcome.diagnostics);
                return Err(failure.into());
            }
            talk.terminal
                .err(complain::diagnostics(&faults, talk.words_paint));
            talk.terminal.err(format!(
                "\n{} in the project; nothing was changed\n",
                complain::count(&faults)
            ));
            return Err(Stop::Said(exit::INPUT));
        }
        let remarks: Vec<DiagnosticView> = faults
            .into_iter()
            .filter(|view| view.severity == Severity::Warning)
            .collect();
        talk.remark(&remarks);
        Ok(read)
    }

    fn request(&self, here: &Path) -> Result<(ProjectRequest, DiskFiles), Stop> {
        let mut disk = DiskFiles::default();
        let mut files = Vec::new();
        for file in &self.files {
            if file.as_os_str() == "-" {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .lock()
                    .read_to_end(&mut bytes)
                    .map_err(Stop::io("read", "standard input"))?;
                let path = text(&here.join("compose.stdin.yaml"))?;
                disk.standard_input = Some((path.clone(), bytes));
                files.push(path);
            } else {
                files.push(text(&here.join(file))?);
            }
        }
        let dir = match (&self.project_directory, files.first()) {
            (Some(dir), _) => here.join(dir),
            (None, Some(first)) => Path::new(first).parent().unwrap_or(here).to_owned(),
            (None, None) => search(here),
        };
        let env_files = self
            .env_files
            .iter()
            .map(|file| text(&here.join(file)))
            .collect::<Result<_, _>>()?;
        let request = ProjectRequest {
            dir: normal(&text(&dir)?),
            files: files.iter().map(|file| normal(file)).collect(),
            project_name: self.project_name.clone(),
            profiles: self.profiles.clone(),
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            env_files,
            scale: self.scale.iter().cloned().collect(),
            kind: self.kind,
            limits: LimitsOver {
                cpus: self.cpus,
                memory: self.memory,
                pids: self.pids,
                disk: self.disk,
            },
            egress: self.egress,
            ttl: self.ttl,
            ..ProjectRequest::default()
        };
        if let Some((path, _)) = &mut disk.standard_input {
            *path = normal(path);
        }
        Ok((request, disk))
    }
}

/// What `daas-spec` calls a wish that only an administrator may allow.
const GRANT_MISSING: &str = "grant-missing";

fn text(path: &Path) -> Result<String, Stop> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Stop::from(Stop::input(
            "path-not-text",
            format!(
                "cannot use the path `{}`: it is no UTF-8 text",
                path.display()
            ),
        ))
    })
}

/// Returns the next folder upwards that holds a compose file, or `here` if none does.
fn search(here: &Path) -> PathBuf {
    let found = here
        .ancestors()
        .find(|folder| USUAL.iter().any(|name| folder.join(name).is_file()));
    found.unwrap_or(here).to_owned()
}

/// Takes `.` and `..` out of an absolute path, by its words alone.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Makes what the daemon reads again: the files and variables that were asked for, and nothing else.
fn source(request: &ProjectRequest, outcome: &Outcome) -> ProjectSource {
    let contents: BTreeMap<String, BytesText> = outcome
        .files_read
        .iter()
        .map(|(path, bytes)| (path.clone(), BytesText(bytes.clone())))
        .collect();
    ProjectSource {
        dir: request.dir.clone(),
        contents,
        files: request.files.clone(),
        project_name: request.project_name.clone(),
        profiles: request.profiles.clone(),
        env: outcome.env_read.clone(),
        env_files: request.env_files.clone(),
        scale: request.scale.clone(),
        kind: request.kind,
        limits: LimitsSource {
            cpus_milli: request.limits.cpus,
            memory_bytes: request.limits.memory,
            pids: request.limits.pids,
            disk_bytes: request.limits.disk,
        },
        egress: request.egress,
        ttl: request.ttl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_their_dots() {
        assert_eq!(normal("/a/./b/../c//d"), "/a/c/d");
        assert_eq!(normal("/../.."), "/");
    }

    #[test]
    fn words_of_arguments_are_checked() {
        assert_eq!(parse_scale("web=3"), Ok(("web".into(), 3)));
        assert!(parse_scale("web").is_err() && parse_scale("web=x").is_err());
        assert_eq!(parse_kind("review"), Ok(StandKind::Review));
        assert!(parse_kind("Review").is_err());
        assert_eq!(parse_span("30min"), Ok(Span::secs(1800)));
    }

    #[test]
    fn the_compose_file_is_searched_upwards() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(folder.path().join("compose.yml"), "").unwrap();
        assert_eq!(search(&deep), folder.path());
    }
}
