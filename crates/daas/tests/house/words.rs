//! What the commands of images and of the registry tell people: what they did, what was wrong, and what to do.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::trials::program;
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::house::Project;
use xtask::trials::Bed;

/// A daemon with a registry, and the address of that.
fn bed(more: &str) -> (Bed, String) {
    let registry = format!("registry:\n  listen: ['127.0.0.1:0']\n{more}");
    let bed = Bed::configured(program(), &format!("  spares: 0\n{registry}")).unwrap();
    let info = bed.api().get("/registry").unwrap();
    let address = info["listens"][0].as_str().unwrap().to_owned();
    (bed, address)
}

/// Runs the program in `folder`; returns its exit code and all that it said.
pub(crate) fn said_in(bed: &Bed, folder: &Path, words: &[&str]) -> (i32, String) {
    let output = Command::new(program())
        .args(words)
        .current_dir(folder)
        .env("DAAS_SOCKET", bed.daemon.place().join("daas.sock"))
        .env_remove("SSH_AUTH_SOCK")
        .output()
        .unwrap();
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    (output.status.code().unwrap(), text)
}

pub(crate) fn said(bed: &Bed, words: &[&str]) -> (i32, String) {
    said_in(bed, bed.daemon.place(), words)
}

/// Runs a command that must succeed.
pub(crate) fn done(bed: &Bed, words: &[&str]) -> String {
    let (code, text) = said(bed, words);
    assert_eq!(code, 0, "{words:?}: {text}");
    text
}

/// Asserts that each command fails with this code and says these words.
fn refused(bed: &Bed, folder: &Path, table: &[(&[&str], i32, &[&str])]) {
    for (words, code, expected) in table {
        let (got, text) = said_in(bed, folder, words);
        assert_eq!(got, *code, "{words:?}: {text}");
        for word in *expected {
            assert!(text.contains(word), "{words:?}: no `{word}` in {text}");
        }
        // A line of its own for each thing, and no name of the daemon's own files.
        assert!(!text.contains("\\u{a}"), "{words:?}: {text}");
        assert!(!text.contains("state/tmp"), "{words:?}: {text}");
    }
}

#[test]
fn root_a_build_whose_context_cannot_be_says_which_and_what_could_be() {
    let (bed, _) = bed("");
    let place = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("app")).unwrap();
    fs::write(folder.join("app/other"), "FROM trial:latest\n").unwrap();
    let built = |place: &'static str| {
        [
            "image",
            "build",
            "app",
            "-f",
            "app/other",
            "--build-context",
            place,
        ]
    };
    let (no_name, slash) = (built("=app"), built("a/b=app"));
    let (absent, file) = (built("more=nowhere"), built("more=app/other"));
    let layout = built("more=oci-layout://x");
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["image", "buld", "app"], 2, &["'buld'", "'build'"]),
        (&["image", "build", "nowhere"], 3, &["context", "nowhere"]),
        (
            &["image", "build", "app/other"],
            2,
            &["is no folder", "--file"],
        ),
        (
            &["image", "build", "app"],
            3,
            &["app/Dockerfile", "`--file` names"],
        ),
        (
            &["image", "build", "app", "-f", "other"],
            3,
            &["there is `--file app/other`"],
        ),
        (&no_name, 2, &["NAME=PLACE"]),
        (&slash, 2, &["context-name", "without `/`"]),
        (&layout, 2, &["daas image load x", "docker-image://"]),
        (&absent, 3, &["context `more`", "nowhere"]),
        (&file, 2, &["context `more`", "is no folder"]),
        (
            &["image", "load", "app/other"],
            2,
            &["cannot load this file", "docker save"],
        ),
    ];
    refused(&bed, folder, table);
}

#[test]
fn root_a_build_that_fails_says_what_was_meant_what_is_the_least_and_the_last_words() {
    let (bed, _) = bed("");
    let place = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    let folder = place.path();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "Dockerfile",
        "FROM trial:latest AS tools\nFROM trial:latest\nCOPY --from=tool /bin/true /x\n",
    );
    write(
        "fails",
        "FROM trial:latest\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo one; echo two; exit 3\"]\n",
    );
    let build = |more: &[&'static str]| [&["image", "build", "."], more].concat();
    let words = [
        build(&["--target", "tool"]),
        build(&[]),
        build(&["-f", "fails"]),
        build(&["--memory", "3"]),
        build(&["--disk", "1MiB"]),
        build(&["--secret", "id=x,src=nix"]),
        build(&["--ssh", "default"]),
        build(&["--platform", "linux/s390x"]),
    ];
    let table: &[(&[&str], i32, &[&str])] = &[
        (&words[0], 2, &["did you mean `tools`?", "this Dockerfile"]),
        (&words[1], 7, &["did you mean `tools`? `tool` is no stage"]),
        (&words[2], 2, &["its last words were:\n    one\n    two\n"]),
        (&words[3], 2, &["limits-too-small", "8 MiB is the least"]),
        (&words[4], 2, &["16 MiB is the least"]),
        (&words[5], 3, &["nix"]),
        (&words[6], 2, &["there is no SSH agent here"]),
        (&words[7], 2, &["this machine is"]),
        (&["image", "show", "nix"], 3, &["daas image list"]),
        (
            &["image", "refresh", "trial:latest"],
            3,
            &["not made here from packages"],
        ),
    ];
    refused(&bed, folder, table);
    // What was made here has no registry to be compared with: it is taken, and that is told.
    write("Dockerfile", "FROM 127.0.0.1:1/made:1\n");
    done(
        &bed,
        &["image", "tag", "trial:latest", "127.0.0.1:1/made:1"],
    );
    let (code, text) = said_in(&bed, folder, &["image", "build", "--pull", "."]);
    assert!(
        code == 0 && text.contains("is taken as it is here"),
        "{text}"
    );
    // A stand is refused as well, before it is recorded.
    write(
        "compose.yaml",
        "name: small\nservices: {web: {image: 'trial:latest'}}\n",
    );
    let (code, text) = said_in(&bed, folder, &["stand", "up", "--pids", "1"]);
    assert!(code == 2 && text.contains("4 is the least"), "{text}");
    let stands = bed.api().get("/stands").unwrap();
    assert_eq!(stands["items"], serde_json::json!([]));
}

#[test]
fn root_registry_commands_say_what_could_be_meant_and_what_has_ended() {
    let (bed, address) = bed("");
    // By the name that clients push to, host included.
    let name = format!("{address}/shop/web");
    done(&bed, &["registry", "publish", "trial:latest", &name]);
    let shown = done(&bed, &["registry", "show", "shop/web"]);
    let by_host = done(&bed, &["registry", "show", &format!("{name}:latest")]);
    assert_eq!(shown, by_host);
    let table: &[(&[&str], i32, &[&str])] = &[
        (
            &["registry", "show", "shop/web:2"],
            3,
            &["daas registry tags shop/web"],
        ),
        (&["registry", "show", "shop/wep"], 3, &["cannot find"]),
        (
            &["registry", "delete", "shop/web"],
            2,
            &["daas registry tags shop/web", "--all"],
        ),
        (
            &["registry", "publish", "trial:latest", "SHOP/web"],
            2,
            &["lower case letters"],
        ),
        (
            &["registry", "publish", "nix", "shop/web"],
            3,
            &["daas image list"],
        ),
        (
            &["registry", "retention", "shop", "--rule", "tags=*"],
            2,
            &["`older-than`"],
        ),
        (&["registry", "quota", "shop", "much"], 2, &["512 MiB"]),
        (
            &["registry", "logout", "nobody"],
            3,
            &["daas registry logins"],
        ),
    ];
    refused(&bed, bed.daemon.place(), table);
    let full = done(&bed, &["registry", "quota", "shop", "1 KiB"]);
    assert!(full.contains("nothing more is taken"), "{full}");
    let login = ["registry", "login-token", "anna", "--project", "shop"];
    done(&bed, &[&login[..], &["--push"]].concat());
    let again = done(&bed, &login);
    assert!(
        again.contains("its password and its rights have ended"),
        "{again}"
    );
    let token = format!("http://{address}/token");
    let asked = Command::new("curl")
        .args(["--silent", "--user", "anna:wrong", &token])
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(answer.contains("the password is wrong"), "{answer}");
    let out = done(&bed, &["registry", "logout", "anna"]);
    assert!(out.contains("anna may not log in any more"), "{out}");
}

#[test]
fn root_a_tag_of_a_dead_branch_stays_while_a_stand_uses_it_and_goes_by_a_persons_word() {
    let (bed, address) = bed("");
    let publish = ["registry", "publish", "trial:latest", "shop/web:branch-old"];
    done(&bed, &publish);
    let compose = format!(
        "name: shop\nservices:\n  web:\n    image: '{address}/shop/web:branch-old'\n    command: [/bin/busybox, sleep, '1000']\n    stop_grace_period: 0s\n"
    );
    let project = Project::of_text(&bed.daemon.place().join("used"), &compose);
    bed.api().up("me", &project, 0).unwrap();
    let alive = done(&bed, &["registry", "branches", "shop", "main"]);
    assert_eq!(alive, done(&bed, &["registry", "branches", "shop"]));
    assert!(alive.contains("branches main\n"), "{alive}");
    let retention = ["registry", "retention", "shop", "--run"];
    let rule = ["--rule", "tags=branch-*,branch"];
    let kept = done(&bed, &[&retention[..], &rule[..]].concat());
    assert!(kept.contains("stays: used by stand `me`"), "{kept}");
    let gone = done(&bed, &["registry", "delete", "shop/web:branch-old"]);
    assert!(
        gone.contains("stand `me` goes on with what it has"),
        "{gone}"
    );
    done(&bed, &["registry", "gc"]);
    done(&bed, &["stand", "restart", "me"]);
    bed.api().down("me").unwrap();
    // It comes again, and nothing uses it.
    done(&bed, &publish);
    let went = done(&bed, &retention);
    assert!(
        went.contains("branch `old` is gone") && !went.contains("stays"),
        "{went}"
    );
}

#[test]
fn root_a_copy_of_an_outside_registry_answers_people_and_stands_while_that_is_away() {
    let (mut outside, there) = bed("");
    done(
        &outside,
        &["registry", "publish", "trial:latest", "team/app:1"],
    );
    done(&outside, &["registry", "share", "team", "--public"]);
    let (bed, here) = bed(&format!("  caches: {{out: '{there}'}}\n"));
    let name = format!("{here}/out/team/app:1");
    // Its contents are here already, by another image's doing: they are the copy's all the same.
    let archive = outside.daemon.place().join("trial.tar");
    let archive = archive.to_str().unwrap();
    done(
        &outside,
        &["image", "save", "trial:latest", "--output", archive],
    );
    done(&bed, &["image", "load", archive]);
    done(&bed, &["image", "pull", &name]);
    done(&bed, &["image", "remove", &name]);
    // The image is the same as the trial's, whose files must not be what answers.
    done(&bed, &["image", "remove", "trial:latest"]);
    done(&bed, &["image", "prune", "--all"]);
    outside.daemon.stop().unwrap();
    done(&bed, &["image", "pull", &name]);
    let compose = "name: shop\nservices:\n  web:\n    image: registry.daas.internal/out/team/app:1\n    command: [/bin/busybox, sleep, '1000']\n    stop_grace_period: 0s\n";
    let project = Project::of_text(&bed.daemon.place().join("far"), compose);
    bed.api().up("me", &project, 0).unwrap();
    bed.api().down("me").unwrap();
    // What was never asked for is told with the registry that is away.
    let (code, text) = said(&bed, &["image", "pull", &format!("{here}/out/team/app:2")]);
    assert!(code == 7 && text.contains(&there), "{text}");
}

#[test]
fn root_what_is_remarked_about_a_project_is_said_once() {
    let (bed, _) = bed("");
    let folder = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    let service =
        "image: trial:latest, stop_signal: SIGKILL, command: [/bin/busybox, sleep, '1000']";
    fs::write(
        folder.path().join("compose.yaml"),
        format!("name: said\nservices:\n  a: {{{service}, pid: 'service:b', annotations: {{x: y}}}}\n  b: {{{service}, depends_on: {{c: {{condition: service_started, required: false}}}}}}\n"),
    )
    .unwrap();
    for words in [["stand", "plan"], ["stand", "up"]] {
        let (code, text) = said_in(&bed, folder.path(), &words);
        assert_eq!(code, 0, "{text}");
        for remark in [
            "services.a.pid",
            "services.a.annotations",
            "names service `c`",
        ] {
            assert_eq!(
                text.matches(remark).count(),
                1,
                "{words:?} {remark}: {text}"
            );
        }
    }
    done(&bed, &["stand", "down", "said"]);
}
