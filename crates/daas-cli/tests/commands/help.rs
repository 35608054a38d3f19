use crate::house::run;
use std::path::Path;

const HEAD: &str = include_str!("cli_head.md");
const EVERYWHERE: &str = "\nEverywhere:\n";

/// Every noun with its verbs, as the page lists them.
const NOUNS: &[(&str, &[&str])] = &[
    (
        "stand",
        &[
            "up", "plan", "list", "show", "logs", "exec", "copy", "stats", "events", "start",
            "stop", "restart", "pause", "resume", "scale", "down", "forward",
        ],
    ),
    (
        "project",
        &[
            "check",
            "dockerfile",
            "environment",
            "shell",
            "grants",
            "grant",
            "revoke",
        ],
    ),
    (
        "image",
        &[
            "list",
            "show",
            "documents",
            "build",
            "pull",
            "load",
            "save",
            "make",
            "refresh",
            "tag",
            "remove",
            "prune",
        ],
    ),
    (
        "registry",
        &[
            "info",
            "list",
            "tags",
            "show",
            "delete",
            "publish",
            "gc",
            "retention",
            "quota",
            "share",
            "branches",
            "login-token",
            "logins",
            "logout",
        ],
    ),
    (
        "system",
        &["info", "prune", "install", "uninstall", "token"],
    ),
    ("route", &["list", "export"]),
    (
        "dns",
        &[
            "zones",
            "records",
            "add",
            "remove",
            "keys",
            "keys roll",
            "keys seen",
        ],
    ),
    ("certificate", &[]),
    ("ban", &["list", "add", "remove", "allow"]),
    ("doctor", &[]),
    ("serve", &[]),
    ("completions", &[]),
    ("man", &[]),
];

/// The page holds every command line word by word, so that no change of a word goes unseen.
#[test]
fn the_checked_in_page_tells_every_noun_verb_and_option() {
    let first = run(&["--help"]).out();
    let (own, everywhere) = first.split_once(EVERYWHERE).unwrap();
    let mut page = format!(
        "{HEAD}```\n{}```\n",
        everywhere.split("\n\n").next().unwrap().to_owned() + "\n"
    );
    page.push_str(&format!("\n## daas\n\n```\n{own}```\n"));
    for (noun, verbs) in NOUNS {
        for verb in std::iter::once(&"").chain(*verbs) {
            let words: Vec<&str> = [noun, verb]
                .into_iter()
                .flat_map(|words| words.split_whitespace())
                .collect();
            let said = run(&[&words[..], &["--help"]].concat());
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}");
            let own = said.out().split_once(EVERYWHERE).unwrap().0.to_owned();
            page.push_str(&format!(
                "\n{} daas {}\n\n```\n{own}```\n",
                "#".repeat(words.len() + 1),
                words.join(" ")
            ));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("DAAS_BLESS").is_some_and(|wish| !wish.is_empty()) {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/reference/cli.md is not what the code says; write it anew with DAAS_BLESS=1"
    );
}

/// What clap knows is what the page lists.
#[test]
fn no_verb_is_missing_on_the_page() {
    let page = include_str!("../../../../docs/reference/cli.md");
    for noun in [
        "stand", "project", "image", "registry", "system", "route", "dns", "ban",
    ] {
        let help = run(&[noun, "--help"]).out();
        let verbs = help
            .split("Verbs:\n")
            .nth(1)
            .unwrap()
            .split("\n\n")
            .next()
            .unwrap()
            .lines()
            .filter_map(|line| {
                line.split_whitespace()
                    .next()
                    .filter(|_| line.starts_with("  ") && !line.starts_with("   "))
            });
        for verb in verbs.map(str::to_owned).collect::<Vec<_>>() {
            assert!(
                page.contains(&format!("### daas {noun} {verb}\n")),
                "{noun} {verb}"
            );
        }
    }
}

#[test]
fn the_version_is_data() {
    assert_eq!(
        (run(&["--version"]).out(), run(&["-V"]).code),
        ("daas 0.1.0\n".into(), 0)
    );
}

#[test]
fn wrong_words_are_told_with_the_nearest_ones() {
    let mut all = String::new();
    for words in [
        &["stnad"][..],
        &["stand", "upp"],
        &["stand", "show"],
        &["stand", "show", "../x"],
        &["stand", "up", "--count", "0"],
        &["stand", "up", "--memory", "lots"],
        &["stand", "up", "--scale", "web"],
        &["stand", "down"],
        &["stand", "exec", "shop/web"],
        &["--color", "blue", "stand", "list"],
    ] {
        let said = run(words);
        assert_eq!((said.code, said.out().as_str()), (2, ""), "{words:?}");
        all.push_str(&format!("$ daas {}\n{}\n", words.join(" "), said.err));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn serving_is_left_to_the_house() {
    let said = run(&["serve", "--config", "/etc/x.yaml"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            6,
            "error[serve-not-root]: cannot serve with Some(\"/etc/x.yaml\")\n"
        )
    );
}

#[test]
fn every_shell_gets_its_completions_and_there_are_manual_pages() {
    for shell in ["bash", "zsh", "fish"] {
        let said = run(&["completions", shell]);
        assert!(
            said.code == 0 && said.out().contains("daas") && said.out().contains("COMPLETE"),
            "{said:?}"
        );
    }
    assert_eq!(run(&["completions", "cmd.exe"]).code, 2);
    assert!(run(&["man"]).out().starts_with(".ie"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        run(&["man", "--dir", folder.path().to_str().unwrap()]).code,
        0
    );
    let pages: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        pages.contains(&"daas-stand-up.1".to_owned()) && pages.len() > 30,
        "{pages:?}"
    );
}
