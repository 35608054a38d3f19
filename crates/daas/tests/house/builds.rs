//! Images that the daemon builds itself when a stand is asked for by the API.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::trials::program;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use xtask::house::{Api, Daemon, Project, Refused, Settings};
use xtask::trials::Bed;

fn bed() -> Bed {
    Bed::new(program()).unwrap()
}

/// Writes files of a project and returns it.
fn project(folder: &Path, files: &[(&str, &str)]) -> Project {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Project::read(folder).unwrap()
}

fn asked(project: &Project, name: &str, build: &str) -> Value {
    json!({"name": name, "project": project.source(), "options": {"build": build}})
}

fn page(api: &Api, stand: &str) -> String {
    let ran = api
        .exec(stand, "web", &["/bin/busybox", "cat", "/word"])
        .unwrap();
    String::from_utf8_lossy(&ran.out).into_owned()
}

/// Returns what an operation wrote.
fn log_of(api: &Api, operation: &Value) -> String {
    let path = format!("/operations/{}/log", operation.as_str().unwrap());
    let mut log = String::new();
    let mut answer = api.ask("GET", &path, &[], &[]).unwrap();
    answer.read_to_string(&mut log).unwrap();
    log
}

#[test]
fn root_a_service_with_a_dockerfile_is_built_by_the_daemon_when_its_stand_is_asked_for() {
    let bed = bed();
    let folder = bed.daemon.place().join("shop");
    let files = [
        (
            "compose.yaml",
            "name: shop\nservices:\n  web:\n    build: {context: ., args: {WHO: you}}\n    command: [/bin/busybox, sleep, '1000']\n  again:\n    build: {context: ., additional_contexts: {base: 'service:web'}, dockerfile_inline: \"FROM base\\nCOPY --from=base /word /again\\n\"}\n    command: [/bin/busybox, sleep, '1000']\n",
        ),
        (
            "Dockerfile",
            "FROM trial:latest\nARG WHO\nCOPY word /word\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo built for $WHO >> /word\"]\n",
        ),
        ("word", "one\n"),
    ];
    let shop = project(&folder, &files);
    let api = bed.api();
    let accepted = api
        .post("/stands", &asked(&shop, "shop", "missing"))
        .unwrap();
    // The builds are operations with logs of their own, and the stand's waits for them.
    let operations = accepted["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 3, "{accepted}");
    api.wait_all(&accepted).unwrap();
    assert_eq!(page(&api, "shop"), "one\nbuilt for you\n");
    let log = log_of(&api, &operations[0]["operation"]);
    assert!(log.contains("COPY word /word"), "{log}");

    // What is there is not built again, unless all is asked for; who says never gets what there is.
    fs::write(folder.join("word"), "two\n").unwrap();
    for wish in ["missing", "never"] {
        let accepted = api.post("/stands", &asked(&shop, "shop", wish)).unwrap();
        assert_eq!(accepted["operations"].as_array().unwrap().len(), 1);
        api.wait_all(&accepted).unwrap();
        assert_eq!(page(&api, "shop"), "one\nbuilt for you\n");
    }
    let accepted = api.post("/stands", &asked(&shop, "shop", "all")).unwrap();
    api.wait_all(&accepted).unwrap();
    assert_eq!(page(&api, "shop"), "two\nbuilt for you\n");
    api.down("shop").unwrap();
}

#[test]
fn root_where_an_image_comes_from_and_what_is_in_it_are_shown_and_listed_by_the_registry() {
    let bed = bed();
    let daas = |arguments: &[&str]| {
        let output = Command::new(program())
            .env("DAAS_SOCKET", bed.daemon.place().join("daas.sock"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), output.stdout, said)
    };
    let read = |arguments: &[&str]| -> Value {
        let (good, out, said) = daas(arguments);
        assert!(good, "{said}");
        serde_json::from_slice(&out).unwrap()
    };
    let folder = bed.daemon.place().join("shop");
    project(
        &folder,
        &[("compose.yaml", "services: {web: {image: x}}\n")],
    );
    fs::write(folder.join("Dockerfile"), "FROM trial:latest\nENV A=1\n").unwrap();
    let (good, _, said) = daas(&[
        "image",
        "build",
        folder.to_str().unwrap(),
        "-t",
        "shop/web:1",
    ]);
    assert!(good, "{said}");
    // They are written beside whoever waits for the build, and who asks for them waits.
    let all = read(&["image", "documents", "shop/web:1", "--json"]);
    let mut digests: Vec<&str> = Vec::new();
    for (document, kind) in all["items"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["spdx", "vnd.in-toto"])
    {
        assert_eq!(document["kind"], format!("application/{kind}+json"));
        digests.push(document["digest"].as_str().unwrap());
    }
    assert_eq!(digests.len(), 2, "{all}");
    let bill = read(&["image", "documents", "shop/web:1", "--print", "sbom"]);
    assert_eq!(bill["spdxVersion"], "SPDX-2.3");
    let origin = read(&["image", "documents", "shop/web:1", "--print", "provenance"]);
    assert_eq!(origin["predicateType"], "https://slsa.dev/provenance/v1");
    // The base was loaded from an archive: nobody knows where it comes from.
    let (good, _, said) = daas(&["image", "documents", "trial:latest", "--print", "sbom"]);
    assert!(!good && said.contains("no such document"), "{said}");
    let (good, _, said) = daas(&["image", "documents", "trial:latest"]);
    assert!(good && said.contains("no documents"), "{said}");
    // The registry tells of them before anybody asked it for referrers.
    let (good, _, said) = daas(&["registry", "publish", "shop/web:1", "shop/web:1"]);
    assert!(good, "{said}");
    let shown = read(&["registry", "show", "shop/web:1", "--json"]);
    digests.sort_unstable();
    assert_eq!(shown["referrers"], json!(digests));
}

#[test]
fn root_a_stand_keeps_the_image_that_it_was_asked_for_with_when_the_name_moves_on() {
    let mut bed = bed();
    let folder = bed.daemon.place().join("moving");
    let compose = "name: moving\nservices:\n  web:\n    build: .\n    command: [/bin/busybox, sleep, '1000']\n";
    let dockerfile = "FROM trial:latest\nCOPY word /word\n";
    let files = [
        ("compose.yaml", compose),
        ("Dockerfile", dockerfile),
        ("word", "one\n"),
    ];
    let moving = project(&folder, &files);
    let up = |api: &Api, stand: &str, build: &str| {
        let accepted = api.post("/stands", &asked(&moving, stand, build)).unwrap();
        api.wait_all(&accepted).unwrap();
    };
    let api = bed.api();
    up(&api, "first", "missing");
    let began = |api: &Api| api.get("/stands/first").unwrap()["nodes"][0]["since_ms"].clone();
    let before = began(&api);
    assert!(before.is_u64(), "{before}");
    // Another stand of the same project is built from another state of it: the image's name means something else now.
    fs::write(folder.join("word"), "two\n").unwrap();
    up(&api, "second", "all");
    assert_eq!(page(&api, "second"), "two\n");
    // A daemon that begins anew looks at every stand, and a collection takes what nobody uses.
    bed.daemon.kill().unwrap();
    bed.daemon.start_again().unwrap();
    let api = bed.api();
    api.post("/images/prune", &json!({"all": true})).unwrap();
    assert_eq!(began(&api), before, "the node was not touched");
    let restarted = api.post("/stands/first/restart", &json!({})).unwrap();
    api.wait_all(&restarted).unwrap();
    assert_ne!(began(&api), before);
    assert_eq!(page(&api, "first"), "one\n");
    // Who asks for the stand again means what the name means now.
    up(&api, "first", "never");
    assert_eq!(page(&api, "first"), "two\n");
    api.down("first").unwrap();
    api.down("second").unwrap();
}

#[test]
fn root_a_build_that_fails_says_so_to_who_waits_for_the_stand_and_can_be_mended() {
    let bed = bed();
    let folder = bed.daemon.place().join("broken");
    let compose = "name: broken\nservices:\n  web:\n    build: .\n    command: [/bin/busybox, sleep, '1000']\n";
    let file = "FROM trial:latest\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo no disk for you >&2; exit 7\"]\n";
    let broken = project(&folder, &[("compose.yaml", compose), ("Dockerfile", file)]);
    let api = bed.api();
    let words = format!("{:#}", api.up("broken", &broken, 0).unwrap_err());
    assert!(
        words.contains("build-command-failed") && words.contains("no disk for you"),
        "{words}"
    );
    let accepted = api
        .post("/stands", &asked(&broken, "broken", "missing"))
        .unwrap();
    let of_stand = accepted["operations"][1]["operation"].as_str().unwrap();
    let words = format!("{:#}", api.wait(of_stand).unwrap_err());
    assert!(words.contains("build-command-failed"), "{words}");
    let view = api.get("/stands/broken").unwrap();
    assert_eq!(view["state"], "failed", "{view}");

    // A file with faults is told before anything begins.
    fs::write(folder.join("Dockerfile"), "FROM trial:latest\nRUNE x\n").unwrap();
    let refused = api
        .post("/stands", &asked(&broken, "broken", "missing"))
        .unwrap_err();
    let refused = refused.downcast_ref::<Refused>().unwrap();
    assert_eq!(refused.status, 422, "{refused}");
    assert!(refused.problem.to_string().contains("RUNE"), "{refused}");

    fs::write(
        folder.join("Dockerfile"),
        "FROM trial:latest\nCOPY <<EOF /word\nmended\nEOF\n",
    )
    .unwrap();
    api.up("broken", &broken, 0).unwrap();
    assert_eq!(page(&api, "broken"), "mended\n");
    api.down("broken").unwrap();
    let said = bed.daemon.said();
    assert!(!said.contains(" ERROR "), "{said}");
}

#[test]
fn root_a_context_that_the_daemon_cannot_see_is_refused_with_a_way_out_of_it() {
    let bed = bed();
    let folder = bed.daemon.place().join("gone");
    let elsewhere = Project::of_text(
        &folder,
        "name: gone\nservices:\n  web:\n    build: .\n    command: [/bin/busybox, sleep, '1000']\n",
    );
    let refused = bed
        .api()
        .post("/stands", &asked(&elsewhere, "gone", "missing"))
        .unwrap_err();
    let refused = refused.downcast_ref::<Refused>().unwrap();
    assert_eq!(refused.status, 422, "{refused}");
    assert_eq!(refused.problem["code"], "build-context-missing");
    assert!(
        refused.problem.to_string().contains("daas image build"),
        "{refused}"
    );
    // Nothing was recorded, and what needs no file is built though its folder is nowhere.
    assert_eq!(bed.api().get("/stands").unwrap()["items"], json!([]));
    let inline = Project::of_text(
        &folder,
        "name: gone\nservices:\n  web:\n    build: {dockerfile_inline: \"FROM trial:latest\\nCOPY <<EOF /word\\nfrom nowhere\\nEOF\\n\"}\n    command: [/bin/busybox, sleep, '1000']\n",
    );
    bed.api().up("gone", &inline, 0).unwrap();
    assert_eq!(page(&bed.api(), "gone"), "from nowhere\n");
    bed.api().down("gone").unwrap();
}

/// Real packages of the machine's own sources: this takes as long as installing them.
#[test]
fn root_a_described_service_is_built_comes_up_and_answers() {
    let daemon = Daemon::start(Settings {
        program: program().into(),
        configuration: "  spares: 0\n".into(),
        environment: Vec::new(),
    })
    .unwrap();
    let folder = daemon.place().join("pages");
    let text = |word: &str| {
        format!(
            "name: pages\nservices:\n  web:\n    ports: ['8080']\n    x-daas:\n      base: debian:bookworm\n      packages: [busybox]\n      files: [{{content: \"{word}\\n\", target: /srv/index.html}}]\n      run: [id -un > /srv/who]\n      user: {{name: app, id: 1000}}\n      workdir: /srv\n      expose: 8080\n      command: busybox httpd -f -p 8080\n"
        )
    };
    let api = daemon.api().patient_for(Duration::from_secs(600));
    api.up("pages", &Project::of_text(&folder, &text("first")), 0)
        .unwrap();
    let view = api.get("/stands/pages").unwrap();
    let url = |path: &str| {
        format!(
            "http://{}:{}/{path}",
            view["address"].as_str().unwrap(),
            view["ports"][0]["published"]
        )
    };
    let get = |path: &str| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--retry",
                "5",
                "--retry-connrefused",
            ])
            .arg(url(path))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(get("index.html"), "first\n");
    assert_eq!(get("who"), "root\n");
    // Another description is another image, without anybody asking for a build; what did not change is found again.
    let second = Project::of_text(&folder, &text("second"));
    let accepted = api
        .post("/stands", &asked(&second, "pages", "missing"))
        .unwrap();
    api.wait_all(&accepted).unwrap();
    assert_eq!(get("index.html"), "second\n");
    let log = log_of(&api, &accepted["operations"][0]["operation"]);
    assert!(log.contains("CACHED"), "{log}");
    refreshed(&api);
    assert_eq!(get("index.html"), "second\n");
    api.down("pages").unwrap();
}

/// Refreshes the packages of the described service: first in vain, then from what somebody else put under their name.
fn refreshed(api: &Api) {
    let images = api.get("/images").unwrap();
    let names = images["items"].as_array().unwrap().iter();
    let packages = names
        .filter_map(|image| image["names"][0].as_str())
        .find(|name| name.contains("daas-packages/"))
        .unwrap();
    let refresh = |in_use: bool| {
        let request = json!({"images": [packages], "in_use": in_use});
        let accepted = api.post("/images/refresh", &request).unwrap();
        api.wait_all(&accepted).unwrap();
        log_of(api, &accepted["operations"][0]["operation"])
    };
    let log = refresh(false);
    assert!(log.contains("nothing is newer"), "{log}");
    let other = json!({"image": "pages-web", "name": packages});
    api.post("/images/tag", &other).unwrap();
    let since = || api.get("/stands/pages").unwrap()["nodes"][0]["since_ms"].clone();
    let before = since();
    let log = refresh(false);
    assert!(log.contains("other files of the same packages"), "{log}");
    assert!(!log.contains("stand `pages`"), "{log}");
    let restarted = api.post("/stands/pages/start", &json!({})).unwrap();
    api.wait_all(&restarted).unwrap();
    assert_eq!(since(), before, "the stand goes on with what it has");
    api.post("/images/tag", &other).unwrap();
    let log = refresh(true);
    assert!(log.contains("other files of the same packages"), "{log}");
    assert!(
        log.contains("stand `pages`: its images are built anew"),
        "{log}"
    );
    let unknown = json!({"images": ["never:made"]});
    let refused = api.post("/images/refresh", &unknown).unwrap_err();
    let refused = refused.downcast_ref::<Refused>().unwrap();
    assert_eq!(refused.problem["code"], "image-not-made");
}

#[test]
fn root_python_packages_of_a_description_come_from_their_registry_and_their_tools_stay_out() {
    xtask::trials::language(program(), &xtask::trials::PYTHON).unwrap();
}
