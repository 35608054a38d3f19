//! Described services: what Dockerfile they become, and what is told of descriptions that are wrong.

use crate::support::read;
use daas_spec::described::{Described, PackagesImage, environment};
use daas_spec::dockerfile::{BuildInputs, read_dockerfile};
use proptest::prelude::*;

/// Reads a project and returns its descriptions; what is told of them besides `build` is an error.
fn described(text: &str) -> Vec<Described> {
    let outcome = read(text);
    let told: Vec<String> = outcome
        .diagnostics
        .iter()
        .filter(|d| d.code != "build-not-yet")
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.join("\n"), "");
    outcome.described
}

/// Checks that a file is read without a remark and plans; returns it.
fn sound(file: String) -> String {
    let parsed = read_dockerfile("Dockerfile", file.as_bytes());
    let told: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told.join("\n"), "", "{file}");
    let plan = parsed.dockerfile.unwrap().plan(&BuildInputs {
        build_platform: "linux/amd64".into(),
        target_platform: "linux/amd64".into(),
        ..BuildInputs::default()
    });
    assert!(plan.is_ok_and(|p| p.remarks.is_empty()), "{file}");
    file
}

const SHOP: &str = r##"
services:
  web:
    x-daas:
      base: debian:bookworm
      packages: [nginx, curl, nginx]
      files:
        - ./site/:/var/www/html/
        - {source: nginx.conf, target: /etc/nginx/nginx.conf, owner: root:www-data, mode: 0640}
        - content: |
            hello $$NAME
            EOF
          target: /etc/motd
      run:
        - nginx -t
        - |
          echo one
          echo two
        - ["/bin/echo", "a b", "\"c\""]
        - "#!/bin/sh\necho script"
      expose: [80, 443/tcp]
      volumes: /var/cache/nginx
      env: {LANG: C.UTF-8, GREETING: "it's \"$$LANG\" \\ here", EMPTY: }
      labels: {team: shop, note: costs $$5}
      workdir: /var/www
      entrypoint: [nginx]
      command: -g 'daemon off;'
  api:
    x-daas:
      base: debian:bookworm
      packages: libpq5
      build_packages: [gcc, libpq-dev, python3-dev]
      pip: [-r requirements.txt, "gunicorn>=22,<24", "uvicorn[standard]"]
      npm: ["@scope/tool@1"]
      cargo: [ripgrep@14.1.0]
      user: {name: app, id: 1000}
      command: gunicorn app
  odd:
    x-daas:
      base: registry.example.com/team/python:3.12
      packages: [git]
      pip: [flask]
      user: "1000:1000"
  plain:
    x-daas: {base: debian:trixie}
"##;

#[test]
fn descriptions_become_clean_dockerfiles() {
    let files: Vec<String> = described(SHOP)
        .iter()
        .map(|d| sound(d.dockerfile()))
        .collect();
    assert_eq!(files.len(), 4);
    insta::assert_snapshot!(files.join("\n---\n"));
}

#[test]
fn packages_of_a_distribution_are_images_that_replace_stages() {
    let all = described(SHOP);
    let urls = |d: &Described| -> Vec<String> {
        d.stands_in()
            .iter()
            .map(|(stage, image)| {
                assert_eq!(PackagesImage::parse(&image.url()).as_ref(), Some(image));
                format!("{stage} {}", image.url())
            })
            .collect()
    };
    assert_eq!(
        urls(&all[0]),
        ["packages packages://debian:bookworm/curl,nginx"]
    );
    assert_eq!(
        urls(&all[1]),
        [
            "packages packages://debian:bookworm/libpq5,nodejs,python3",
            "tools packages://debian:bookworm/ca-certificates,cargo-web,gcc,libc6-dev,libpq-dev,libpq5,nodejs,npm,python3,python3-dev,python3-venv"
        ]
    );
    assert!(all[2].stands_in().is_empty());
    assert_eq!(urls(&all[3]), ["debian:trixie packages://debian:trixie/"]);
    for wrong in [
        "packages://fedora:40/x",
        "packages://debian:bookworm/-x",
        "debian:bookworm/x",
        "packages://debian:bookworm",
    ] {
        assert_eq!(PackagesImage::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_project_has_one_image_for_building_all_of_it() {
    let (file, images) = environment(&described(SHOP)).unwrap();
    insta::assert_snapshot!(sound(file));
    assert_eq!(images["tools"].base, "debian:bookworm");
    assert!(environment(&described("services: {a: {image: b}}")).is_none());
}

#[test]
fn faults_of_a_description_are_told_with_a_hint() {
    let outcome = read(
        r#"
services:
  a:
    x-daas: {bse: debian:bookworm, packages: [nginx]}
  b:
    x-daas:
      base: "debian:book worm"
  c:
    build: .
    x-daas: {base: debian:bookworm}
  d:
    x-daas:
      base: debian:bookworm
      pakages: [x]
      packages: ["-rf", "a b", "x=$$(y)"]
      pip: ["-e .", "-r ../x", "a'b"]
      npm: ["; rm"]
      cargo: ["--git x"]
      files: [nothing, "/etc/passwd:/x", "../x:/y", {source: a}, {source: a, content: b, target: /c}, {content: x, target: /y, ownr: me}]
      run: ["", {a: b}]
      user: "a:b:c"
      env: ["A B=c", "C=x\ny"]
      workdir: here
      expose: [80/icmp, "8080:80"]
      volumes: [data]
      command: "'open"
  e:
    x-daas: [debian]
"#,
    );
    let told: Vec<String> = outcome
        .diagnostics
        .iter()
        .filter(|d| d.code != "build-not-yet")
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

proptest! {
    #[test]
    fn whatever_a_description_says_its_file_is_read_as_it_was_meant(
        value in "[ -~]{0,20}", path in "[a-z$\" '*]{1,8}", text in "[ -~\n]{0,40}",
    ) {
        use daas_spec::described::{DescribedFile, DescribedRun, FileOrigin};
        use daas_spec::dockerfile::{Action, RunCommand};
        let node = Described {
            service: "x".into(),
            base: "debian:bookworm".into(),
            labels: vec![("k".into(), value.clone())],
            files: vec![
                DescribedFile { source: FileOrigin::Path(path.clone()), target: format!("/{path}"), owner: None, mode: None },
                DescribedFile { source: FileOrigin::Text(text.clone()), target: "/t".into(), owner: None, mode: Some(0o600) },
            ],
            run: vec![DescribedRun::Shell(format!("set -e\n{text}")), DescribedRun::Exec(vec![value.clone(), "x".into()])],
            command: Some(vec![value.clone()]),
            ..Described::default()
        };
        let file = node.dockerfile();
        let parsed = read_dockerfile("Dockerfile", file.as_bytes()).dockerfile.unwrap();
        let plan = parsed.plan(&BuildInputs { build_platform: "linux/amd64".into(), target_platform: "linux/amd64".into(), ..BuildInputs::default() }).unwrap();
        let mut scope = plan.scope(&[]);
        let ended = if text.is_empty() || text.ends_with('\n') { text.clone() } else { format!("{text}\n") };
        for step in &parsed.stages[0].steps {
            match scope.resolve(step).unwrap() {
                Action::Label(pairs) => prop_assert_eq!(&pairs[0].1, &value),
                Action::Transfer(t) if t.inline.is_empty() => {
                    prop_assert_eq!(&t.sources, std::slice::from_ref(&path));
                    prop_assert_eq!(t.dest, format!("/{path}"));
                }
                Action::Transfer(t) => prop_assert_eq!(&t.inline[0].text, &ended),
                Action::Run(run) => match run.command {
                    RunCommand::Shell(script) => prop_assert!(script.ends_with(&ended)),
                    RunCommand::Exec(words) => prop_assert_eq!(&words[0], &value),
                    RunCommand::Script { .. } => prop_assert!(false),
                },
                Action::Cmd(command) => prop_assert_eq!(command, daas_spec::dockerfile::CommandLine::Exec(vec![value.clone()])),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
