//! What a file of `tests/dockerfiles` wants.

use std::path::Path;

/// Who says what the image must be.
pub(crate) enum Judge {
    Docker { buildkit: bool },
    Tree(Vec<String>),
    Refused(String),
}

/// One Dockerfile.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) judge: Judge,
    pub(crate) fails: bool,
    pub(crate) target: Option<String>,
    pub(crate) args: Vec<(String, String)>,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) contexts: Vec<(String, String)>,
    /// Whether the argument `WEB` is the address of a web server.
    pub(crate) web: bool,
    pub(crate) ignore: String,
    /// Paths and settings that are another thing here.
    pub(crate) differs: Vec<String>,
    /// Paths and settings in which Docker 20.10 is not what `BuildKit` is today.
    pub(crate) old: Vec<String>,
}

/// Reads every case, or those whose name holds `DAAS_CASE`.
pub(crate) fn all() -> Vec<Case> {
    let wanted = std::env::var("DAAS_CASE").unwrap_or_default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerfiles");
    let mut cases: Vec<Case> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            read(name, std::fs::read_to_string(&path).unwrap())
        })
        .filter(|case| case.name.contains(&wanted))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn read(name: String, text: String) -> Case {
    let mut case = Case {
        name,
        judge: Judge::Docker { buildkit: false },
        fails: false,
        target: None,
        args: Vec::new(),
        secrets: Vec::new(),
        contexts: Vec::new(),
        web: false,
        ignore: String::new(),
        differs: Vec::new(),
        old: Vec::new(),
        text: String::new(),
    };
    let mut tree = Vec::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("#:")) {
        let (key, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let pair = || {
            let (name, value) = value.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        match key {
            "judge" => {
                case.judge = Judge::Docker {
                    buildkit: value == "buildkit",
                }
            }
            "tree" => tree.push(value.to_owned()),
            "refused" => case.judge = Judge::Refused(value.to_owned()),
            "fails" => case.fails = true,
            "web" => case.web = true,
            "target" => case.target = Some(value.to_owned()),
            "arg" => case.args.push(pair()),
            "secret" => case.secrets.push(pair()),
            "context" => case.contexts.push(pair()),
            "ignore" => {
                case.ignore.push_str(value);
                case.ignore.push('\n');
            }
            "differs" => case
                .differs
                .push(value.split(' ').next().unwrap().to_owned()),
            "old" => case.old.push(value.split(' ').next().unwrap().to_owned()),
            other => panic!("{}: `{other}` means nothing", case.name),
        }
    }
    if !tree.is_empty() {
        case.judge = Judge::Tree(tree);
    }
    case.text = text;
    case
}

/// Tells whether a person asked for some cases only.
pub(crate) fn is_part() -> bool {
    std::env::var_os("DAAS_CASE").is_some()
}
