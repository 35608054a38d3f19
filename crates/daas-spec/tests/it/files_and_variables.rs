//! Which files are read, and where variables come from.

use crate::support::{DIR, codes, files, read, read_files, request, service, spec, told};
use daas_model::{ByteSize, Cpus, Egress, Limits, Span, StandKind};
use daas_spec::{Files, LimitsOver, ProjectRequest, read_project};

const SIMPLE: &str = "services: {s: {image: i}}\n";

#[test]
fn the_usual_names_are_looked_for_in_order() {
    for names in [
        ["compose.yaml", "compose.override.yaml"],
        ["compose.yml", "compose.override.yml"],
        ["docker-compose.yaml", "docker-compose.override.yaml"],
        ["docker-compose.yml", "docker-compose.override.yml"],
    ] {
        let outcome = read_files(&[
            (names[0], SIMPLE),
            (names[1], "services: {s: {hostname: h}}"),
        ]);
        assert_eq!(told(&outcome), "");
        assert_eq!(
            spec(&outcome)
                .nodes
                .values()
                .next()
                .unwrap()
                .hostname
                .as_deref(),
            Some("h")
        );
        assert_eq!(outcome.files_read.len(), 2);
    }
    let outcome = read_files(&[
        ("compose.yaml", SIMPLE),
        ("docker-compose.yml", "services: {t: {image: i}}"),
    ]);
    insta::assert_snapshot!(told(&outcome), @"
    warning[project-ambiguous]: the folder has several project files, and `compose.yaml` is used
      --> /home/ann/shop
      caused by: also there: docker-compose.yml
      hint: remove the others, or name the right one with `-f`
    ");
    assert!(spec(&outcome).nodes.keys().all(|n| n.as_str() == "s"));
}

#[test]
fn files_can_be_named_by_the_caller_or_a_variable() {
    let all = files(&[
        ("a.yaml", SIMPLE),
        (
            "sub/b.yaml",
            "services: {s: {hostname: b, volumes: ['./x:/x']}}",
        ),
        ("compose.yaml", "services: {no: {image: i}}"),
    ]);
    let by_caller = ProjectRequest {
        files: vec!["a.yaml".into(), "sub/b.yaml".into()],
        ..request()
    };
    let by_variable = ProjectRequest {
        env: [("COMPOSE_FILE".to_owned(), "a.yaml:sub/b.yaml".to_owned())].into(),
        ..request()
    };
    for request in [by_caller, by_variable] {
        let outcome = read_project(&all, &request);
        let node = spec(&outcome).nodes.values().next().unwrap();
        assert_eq!(node.hostname.as_deref(), Some("b"));
        // Paths begin at the project's folder, whatever the folder of an override.
        assert_eq!(
            serde_json::to_value(&node.mounts[0].source).unwrap()["bind"]["path"],
            format!("{DIR}/x")
        );
    }
    let missing = ProjectRequest {
        files: vec!["gone.yaml".into()],
        ..request()
    };
    insta::assert_snapshot!(told(&read_project(&all, &missing)), @"
    error[project-missing]: the project file `gone.yaml` does not exist
      --> /home/ann/shop
      hint: check the name; a relative path begins at the folder of the file that names it
    ");
}

#[test]
fn the_callers_variables_stand_above_those_of_files() {
    let all = files(&[
        (
            "compose.yaml",
            &service("environment: ['A=$A', 'B=$B', 'C=$C', A2, B2]\nenv_file: s.env"),
        ),
        (".env", "A=dotenv\nB=dotenv\nB2=dotenv\n"),
        ("other.env", "B=other\nC=$A\n"),
        ("s.env", "D=$A-$B\nA=shadow\n"),
    ]);
    let env: std::collections::BTreeMap<String, String> = [
        ("A".to_owned(), "caller".to_owned()),
        ("UNUSED".to_owned(), "x".to_owned()),
    ]
    .into();
    let outcome = read_project(
        &all,
        &ProjectRequest {
            env: env.clone(),
            ..request()
        },
    );
    insta::assert_json_snapshot!(spec(&outcome).nodes.values().next().unwrap().environment, @r#"
    {
      "A": "caller",
      "A2": null,
      "B": "dotenv",
      "B2": "dotenv",
      "C": "",
      "D": "caller-dotenv"
    }
    "#);
    insta::assert_snapshot!(told(&outcome), @"
    warning[variable-unset]: variable `C` is not set and reads as empty
      --> compose.yaml:4:38
      hint: set it in the environment or in `.env`, or give a default: `${C:-value}`
    ");
    let outcome = read_project(
        &all,
        &ProjectRequest {
            env: env.clone(),
            env_files: vec!["other.env".into()],
            ..request()
        },
    );
    insta::assert_json_snapshot!(spec(&outcome).nodes.values().next().unwrap().environment, @r#"
    {
      "A": "caller",
      "A2": null,
      "B": "other",
      "B2": null,
      "C": "caller",
      "D": "caller-other"
    }
    "#);
    // Only what was asked for needs to travel.
    assert_eq!(outcome.env_read.keys().collect::<Vec<_>>(), ["A"]);
}

#[test]
fn environment_files_have_two_formats_and_may_be_optional() {
    let outcome = read_files(&[
        (
            "compose.yaml",
            &service(
                "env_file: [{path: raw.env, format: raw}, {path: gone.env, required: false}, a.env]\nenvironment: {B: above, GONE: }\nlabel_file: l.env\nlabels: [x=1]",
            ),
        ),
        ("raw.env", "RAW=\"${X}\" # y\nB=raw\n"),
        (
            "a.env",
            "Q='single $X'\nD=\"two\\nlines\"\nINHERIT\nGONE=1\n",
        ),
        ("l.env", "x=0\ny=2\n"),
    ]);
    assert_eq!(told(&outcome), "");
    let node = spec(&outcome).nodes.values().next().unwrap();
    insta::assert_json_snapshot!((&node.environment, &node.labels), @r#"
    [
      {
        "B": "above",
        "D": "two\nlines",
        "GONE": null,
        "Q": "single $X",
        "RAW": "\"${X}\" # y"
      },
      {
        "x": "1",
        "y": "2"
      }
    ]
    "#);
}

#[test]
fn variables_are_not_put_into_keys_and_dollars_can_be_doubled() {
    let outcome = read(&service(
        "labels: {'$KEY': $$VALUE}\ncommand: echo $${HOME} $$",
    ));
    let node = spec(&outcome).nodes.values().next().unwrap();
    assert_eq!(node.labels["$KEY"], "$VALUE");
    assert_eq!(node.command.as_deref().unwrap(), ["echo", "${HOME}", "$"]);
}

#[test]
fn a_variable_is_typed_after_it_is_put_in() {
    let outcome = read(&service(
        "scale: ${N:-2}\ninit: ${INIT:-yes}\nmem_limit: ${M:-64}m\nports: ['${P:-8000-8001}:80']\nuser: ${U:-}\nimage: ${I:-a}:${T:-1}",
    ));
    // The image stands twice: a duplicate key.
    assert_eq!(codes(&outcome), ["key-twice"]);
    let outcome = read(
        "services:\n  s:\n    image: ${I:-a}:${T:-1}\n    scale: ${N:-2}\n    init: ${INIT:-yes}\n    mem_limit: ${M:-64}m\n    ports: ['${P:-8000-8001}:80']\n    user: ${U:-}\n",
    );
    let node = spec(&outcome).nodes.values().next().unwrap();
    assert!(node.init);
    assert_eq!(node.memory, Some(ByteSize::mib(64)));
    assert_eq!(node.user, None);
    assert_eq!(spec(&outcome).nodes.len(), 2);
}

#[test]
fn the_projects_name_comes_from_caller_variable_file_or_folder() {
    let name = |text: &str, request: ProjectRequest| {
        spec(&read_project(&files(&[("compose.yaml", text)]), &request))
            .project
            .to_string()
    };
    let named = "name: from_file\nservices: {s: {image: i, hostname: $COMPOSE_PROJECT_NAME}}\n";
    assert_eq!(name(SIMPLE, request()), "shop");
    assert_eq!(name(named, request()), "from-file");
    let env = ProjectRequest {
        env: [("COMPOSE_PROJECT_NAME".to_owned(), "from-env".to_owned())].into(),
        ..request()
    };
    assert_eq!(name(named, env.clone()), "from-env");
    assert_eq!(
        name(
            named,
            ProjectRequest {
                project_name: Some("from-caller".into()),
                ..env
            }
        ),
        "from-caller"
    );
    let outcome = read(named);
    assert_eq!(
        spec(&outcome)
            .nodes
            .values()
            .next()
            .unwrap()
            .hostname
            .as_deref(),
        Some("from_file")
    );
    let outcome = read("name: ${N:-var}\nservices: {s: {image: i}}\n");
    assert_eq!(spec(&outcome).project.as_str(), "var");
}

#[test]
fn x_daas_sets_limits_egress_and_time_below_the_caller() {
    let text = "services: {s: {image: i}}\nx-daas: {limits: {cpus: 1.5, memory: 1g, pids: 100, disk: 5 GiB}, egress: none, ttl: 8h}\n";
    let outcome = read(text);
    let stand = spec(&outcome);
    let wanted = Limits {
        cpus: Cpus(1500),
        memory: ByteSize::gib(1),
        pids: 100,
        disk: ByteSize::gib(5),
    };
    assert_eq!(
        (stand.limits, stand.egress, stand.ttl),
        (wanted, Egress::None, Some(Span::secs(28800)))
    );
    let over = ProjectRequest {
        limits: LimitsOver {
            memory: Some(ByteSize::gib(3)),
            ..Default::default()
        },
        egress: Some(Egress::Full),
        ttl: Some(Span::secs(60)),
        kind: StandKind::Review,
        ..request()
    };
    let outcome = read_project(&files(&[("compose.yaml", text)]), &over);
    let stand = spec(&outcome);
    assert_eq!(
        stand.limits,
        Limits {
            memory: ByteSize::gib(3),
            ..wanted
        }
    );
    assert_eq!(
        (stand.egress, stand.ttl, stand.kind),
        (Egress::Full, Some(Span::secs(60)), StandKind::Review)
    );
    let outcome = read(SIMPLE);
    assert_eq!(spec(&outcome).limits, Limits::default());
}

/// A disk that cannot be read everywhere.
struct Broken;

impl Files for Broken {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        match path.rsplit('/').next() {
            Some("compose.yaml") => Ok(Some(service("env_file: [a.env, folder]").into_bytes())),
            Some("a.env") => Err("permission denied".into()),
            _ => Ok(None),
        }
    }

    fn is_dir(&self, path: &str) -> bool {
        path.ends_with("/folder")
    }
}

#[test]
fn files_that_cannot_be_read_are_told_with_the_reason() {
    insta::assert_snapshot!(told(&read_project(&Broken, &request())), @"
    error[env-file-missing]: cannot read the environment file `a.env`
      --> compose.yaml:4:16
      caused by: permission denied
    error[env-file-missing]: the environment file `folder` is a folder
      --> compose.yaml:4:23
      hint: name a file
    ");
}

#[test]
fn an_outcome_can_be_read_again_from_what_it_read() {
    let all = files(&[
        (
            "compose.yaml",
            "include: [sub/compose.yaml]\nservices: {s: {image: i, env_file: s.env, extends: {file: base.yaml, service: b}, secrets: [k]}}\nsecrets: {k: {file: key.txt}}\n",
        ),
        ("sub/compose.yaml", "services: {t: {image: 'i:$TAG'}}\n"),
        ("base.yaml", "services: {b: {image: i, hostname: $HOST}}\n"),
        ("s.env", "A=1\n"),
        ("key.txt", "secret"),
        (".env", "TAG=1\n"),
        ("unrelated.txt", "x"),
    ]);
    let request = ProjectRequest {
        env: [
            ("HOST".to_owned(), "h".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ]
        .into(),
        ..request()
    };
    let outcome = read_project(&all, &request);
    assert_eq!(outcome.files_read.len(), 6);
    let again = read_project(
        &outcome.files_read,
        &ProjectRequest {
            env: outcome.env_read.clone(),
            ..request
        },
    );
    assert_eq!(again, outcome);
    let text = serde_json::to_string(&outcome).unwrap();
    assert_eq!(
        serde_json::from_str::<daas_spec::Outcome>(&text).unwrap(),
        outcome
    );
}
