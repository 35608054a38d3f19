//! The environment image of a project follows what it is made of.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::trials::program;
use daas_spec::described::{PackagesImage, environment};
use daas_spec::{ProjectRequest, read_project};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::house::{Api, Project};
use xtask::trials::Bed;

const ENVIRONMENT: &str = "daas-environment/tools:latest";

fn compose(packages: &str) -> String {
    format!(
        "name: tools\nservices:\n  web:\n    x-daas:\n      base: debian:bookworm\n      packages: [busybox]\n      build_packages: [{packages}]\n      command: [/bin/busybox, sleep, '1000']\n    stop_grace_period: 0s\n"
    )
}

/// Lets `image` be what the packages of the project would become: making them takes minutes, and is not what is looked at.
fn stand_in(api: &Api, folder: &Path, text: &str, image: &str) {
    let file = folder.join("compose.yaml").to_str().unwrap().to_owned();
    let files: BTreeMap<String, Vec<u8>> = [(file.clone(), text.as_bytes().to_vec())].into();
    let request = ProjectRequest {
        dir: folder.to_str().unwrap().to_owned(),
        files: vec![file],
        ..ProjectRequest::default()
    };
    let outcome = read_project(&files, &request);
    let places = outcome
        .builds
        .iter()
        .flat_map(|b| b.additional_contexts.values());
    let own: Vec<PackagesImage> = places.filter_map(|p| PackagesImage::parse(p)).collect();
    let (_, stages) = environment(&outcome.described).unwrap();
    for packages in own.iter().chain(stages.values()) {
        let name = packages.image_name().unwrap().familiar();
        api.post("/images/tag", &json!({"image": image, "name": name}))
            .unwrap();
    }
}

fn environment_of(api: &Api) -> Option<Value> {
    let images = api.get("/images").unwrap();
    let mut items = images["items"].as_array().unwrap().iter();
    let found = items.find(|image| {
        image["names"]
            .to_string()
            .contains(ENVIRONMENT.trim_end_matches(":latest"))
    });
    found.map(|image| image["digest"].clone())
}

/// Waits until the environment is another than `before`.
fn changed(api: &Api, before: Option<&Value>) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let now = environment_of(api);
        if let Some(digest) = now.filter(|digest| Some(digest) != before) {
            return digest;
        }
        assert!(Instant::now() < until, "the environment stays {before:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn root_the_environment_of_a_project_follows_once_somebody_has_asked_for_it() {
    let bed = Bed::new(program()).unwrap();
    let (api, folder) = (bed.api(), tempfile::tempdir_in(bed.daemon.place()).unwrap());
    let daas = |arguments: &[&str]| {
        let said = Command::new(program())
            .args(arguments)
            .current_dir(folder.path())
            .env("DAAS_SOCKET", bed.daemon.place().join("daas.sock"))
            .output()
            .unwrap();
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
    };
    for (name, word) in [("other:1", "one"), ("other:2", "two")] {
        let dockerfile = format!("FROM trial:latest\nCOPY <<EOF /word\n{word}\nEOF\n");
        std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
        daas(&["image", "build", "--tag", name, "."]);
    }
    let up = |text: &str| {
        std::fs::write(folder.path().join("compose.yaml"), text).unwrap();
        api.up("tools", &Project::read(folder.path()).unwrap(), 0)
            .unwrap();
    };
    let (first, second) = (compose("gcc"), compose("gcc, libc6-dev"));
    stand_in(&api, folder.path(), &first, "trial:latest");
    up(&first);
    // Nobody wanted one yet.
    assert_eq!(environment_of(&api), None);
    daas(&["project", "environment"]);
    let made = changed(&api, None);
    // The same description asks for nothing, another one for another image.
    up(&first);
    stand_in(&api, folder.path(), &second, "other:1");
    up(&second);
    let followed = changed(&api, Some(&made));
    // And so do other packages under the same names.
    stand_in(&api, folder.path(), &second, "other:2");
    up(&second);
    changed(&api, Some(&followed));
    api.down("tools").unwrap();
}
