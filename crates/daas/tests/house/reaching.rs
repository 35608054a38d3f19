//! What people copy into and out of a node and run in it, by the command line.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::trials::program;
use crate::words::{done, said};
use std::fs;
use std::process::Command;
use xtask::trials::Bed;

/// A daemon with the stand `me` of one node `web`.
fn bed() -> Bed {
    let bed = Bed::new(program()).unwrap();
    let services = "  web:\n    image: trial:latest\n    stop_signal: SIGKILL\n    command: [/bin/busybox, sleep, '1000']\n";
    bed.api().up("me", &bed.project(services), 0).unwrap();
    bed
}

#[test]
fn root_a_copy_goes_to_a_new_name_into_a_folder_and_says_what_is_absent() {
    let bed = bed();
    let file = bed.daemon.place().join("words");
    fs::write(&file, "hello").unwrap();
    let file = file.to_str().unwrap();
    let copy = |from: &str, to: &str| said(&bed, &["stand", "copy", from, to]);
    let read = |path| done(&bed, &["stand", "exec", "me/web", "busybox", "cat", path]);
    assert_eq!(copy(file, "me/web:/new"), (0, String::new()));
    assert_eq!(read("/new"), "hello");
    assert_eq!(copy(file, "me/web:/bin"), (0, String::new()));
    assert_eq!(read("/bin/words"), "hello");
    let back = bed.daemon.place().join("back");
    assert_eq!(copy("me/web:/new", back.to_str().unwrap()).0, 0);
    assert_eq!(fs::read_to_string(&back).unwrap(), "hello");
    let (code, text) = copy("me/web:/nowhere", back.to_str().unwrap());
    assert!(code == 3 && text.contains("error[path-absent]"), "{text}");
    let (code, text) = copy(file, "me/web:/no/where");
    assert!(code == 3 && text.contains("make the folder"), "{text}");
    // So it is in a node that does not run.
    done(&bed, &["stand", "stop", "me"]);
    assert_eq!(copy(file, "me/web:/newer"), (0, String::new()));
    let (code, text) = copy("me/web:/nowhere", back.to_str().unwrap());
    assert!(code == 3 && text.contains("error[path-absent]"), "{text}");
    bed.api().down("me").unwrap();
    bed.nothing_is_left().unwrap();
}

#[test]
fn root_what_is_no_whole_archive_is_told_as_such() {
    let bed = bed();
    let place = bed.daemon.place();
    fs::write(place.join("text"), "no archive at all\n".repeat(100)).unwrap();
    let shell = "tar -cf whole text; head -c 700 whole > cut; gzip -k whole";
    let made = Command::new("sh")
        .args(["-c", shell])
        .current_dir(place)
        .status();
    assert!(made.unwrap().success());
    for name in ["text", "cut", "whole.gz"] {
        let copied = Command::new(program())
            .args(["stand", "copy", "-", "me/web:/tmp"])
            .env("DAAS_SOCKET", place.join("daas.sock"))
            .stdin(fs::File::open(place.join(name)).unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8(copied.stderr).unwrap();
        assert!(
            text.contains("the archive cannot be read: "),
            "{name}: {text}"
        );
        assert!(
            text.contains("hint: send a whole tar archive"),
            "{name}: {text}"
        );
    }
    bed.api().down("me").unwrap();
}

#[test]
fn root_a_stand_is_not_scaled_by_a_service_that_it_does_not_have() {
    let bed = bed();
    let (code, text) = said(&bed, &["stand", "scale", "me", "wep=2"]);
    assert!(code == 2 && text.contains("did you mean `web`?"), "{text}");
    done(&bed, &["stand", "scale", "me", "web=2"]);
    bed.api().down("me").unwrap();
}

#[test]
fn root_a_program_in_a_folder_that_is_absent_is_refused_and_the_folder_not_made() {
    let bed = bed();
    let pwd = |folder| {
        said(
            &bed,
            &["stand", "exec", "-w", folder, "me/web", "busybox", "pwd"],
        )
    };
    assert_eq!(pwd("/bin"), (0, "/bin\n".to_owned()));
    for _ in 0..2 {
        let (code, text) = pwd("/nowhere");
        assert!(code == 3 && text.contains("error[path-absent]"), "{text}");
    }
    bed.api().down("me").unwrap();
}
