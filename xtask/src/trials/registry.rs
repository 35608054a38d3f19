//! The registry in the house: pushed is runnable, one project's images are not another's, a crash leaves nothing.

use super::bed::{Bed, busybox_tree};
use crate::house::{Project, docker_archive};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Pushes an image by skopeo, runs it by both of its names without a way out, and kills the daemon amid an upload.
///
/// # Errors
/// When something is fetched or copied, when a foreign project sees the image, or when the crash loses or leaves something.
pub fn pushed_is_runnable(program: &Path) -> Result<String> {
    let mut bed = Bed::configured(
        program,
        "  spares: 0\nregistry:\n  listen: ['127.0.0.1:0']\n",
    )?;
    let (host, secret) = door(&bed)?;
    push(&bed, &host, &secret)?;
    let before = blobs(&bed)?;
    let text = |name: &str| {
        let node = |image: &str| {
            format!("    image: {image}/shop/web:1\n    command: [busybox, sleep, '1000']\n")
        };
        format!(
            "name: {name}\nx-daas: {{egress: none}}\nservices:\n  outer:\n{}  inner:\n{}",
            node(&host),
            node("registry.daas.internal")
        )
    };
    let shop = Project::of_text(&bed.daemon.place().join("shop"), &text("shop"));
    bed.api().up("runs", &shop, 0)?;
    ensure!(
        blobs(&bed)? == before,
        "contents were copied: {before:?}, then {:?}",
        blobs(&bed)?
    );
    let ask = |path: &str| {
        let url = format!("http://registry.daas.internal/v2/{path}");
        bed.api().exec(
            "runs",
            "inner",
            &["/bin/busybox", "wget", "-q", "-O", "-", &url],
        )
    };
    ensure!(
        ask("shop/web/manifests/1")?.code == 0,
        "a node does not see its registry"
    );
    ensure!(
        ask("blog/web/manifests/1")?.code != 0,
        "a node sees a foreign project"
    );
    let blog = Project::of_text(&bed.daemon.place().join("blog"), &text("blog"));
    let refused = bed.api().up("steals", &blog, 0);
    let words = format!(
        "{:#}",
        refused.err().context("a foreign project runs the image")?
    );
    ensure!(words.contains("has no image"), "{words}");
    bed.api().down("steals")?;
    crash(&mut bed, &host, &secret)?;
    bed.api().down("runs")?;
    // What the registry has is no leftover of a stand.
    bed.api().delete("/registry/repositories/shop%2Fweb")?;
    Ok("pushed once, run by both names without a copy, hidden from another project; a crash amid an upload left nothing".to_owned())
}

/// Returns where the registry listens and the secret of a new login `dev`.
fn door(bed: &Bed) -> Result<(String, String)> {
    let info = bed.api().get("/registry")?;
    let host = info["listens"][0].as_str().context("it listens nowhere")?;
    let wish = json!({"name": "dev", "push": true, "delete": true});
    let made = bed.api().post("/registry/logins", &wish)?;
    let secret = made["secret"].as_str().context("there is no secret")?;
    Ok((host.to_owned(), secret.to_owned()))
}

fn push(bed: &Bed, host: &str, secret: &str) -> Result<()> {
    let place = bed.daemon.place();
    let tree = place.join("pushed");
    busybox_tree(&tree)?;
    fs::write(tree.join("pushed"), "by skopeo")?;
    let archive = place.join("pushed.tar");
    let bytes = docker_archive("pushed:1", &tree, &json!({"Env": ["PATH=/bin"]}))?;
    fs::write(&archive, bytes)?;
    let output = Command::new("skopeo")
        .args(["copy", "--dest-tls-verify=false", "--dest-creds"])
        .arg(format!("dev:{secret}"))
        .arg(format!("docker-archive:{}", archive.display()))
        .arg(format!("docker://{host}/shop/web:1"))
        .output()
        .context("cannot run skopeo; tools/install-packages test")?;
    ensure!(
        output.status.success(),
        "skopeo: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::remove_dir_all(&tree)?;
    fs::remove_file(&archive)?;
    Ok(())
}

/// Returns bytes and number of the store's contents.
fn blobs(bed: &Bed) -> Result<(u64, usize)> {
    let mut sum = (0, 0_usize);
    for entry in fs::read_dir(bed.daemon.state().join("images/blobs/sha256"))? {
        sum.0 += entry?.metadata()?.len();
        sum.1 += 1;
    }
    Ok(sum)
}

/// Kills the daemon while bytes of an upload come, and looks at what is left.
fn crash(bed: &mut Bed, host: &str, secret: &str) -> Result<()> {
    let auth = format!("dev:{secret}");
    let curl = |host: &str, args: &[&str], path: &str| -> Result<String> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--include", "--user", &auth])
            .args(args)
            .arg(format!("http://{host}{path}"))
            .output()
            .context("cannot run curl")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let begun = curl(host, &["--request", "POST"], "/v2/shop/web/blobs/uploads/")?;
    let place = begun
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .with_context(|| format!("no place to go on: {begun}"))?
        .trim()
        .to_owned();
    // An upload for everybody's eyes: whoever has its id needs the login, too.
    let mut stream = TcpStream::connect(host)?;
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    ensure!(
        &answer == b"HTTP/1.1 401",
        "an upload goes on without a login"
    );
    let piece = bed.daemon.place().join("piece");
    fs::write(&piece, vec![7; 3 << 20])?;
    let data = format!("@{}", piece.display());
    let sent = curl(
        host,
        &["--request", "PATCH", "--data-binary", &data],
        &place,
    )?;
    ensure!(sent.contains(" 202 "), "{sent}");
    let tmp = bed.daemon.state().join("images/tmp");
    ensure!(
        fs::read_dir(&tmp)?.count() == 1,
        "the upload lies elsewhere"
    );
    bed.daemon.kill()?;
    bed.daemon.start_again()?;
    ensure!(fs::read_dir(&tmp)?.count() == 0, "the crash left an upload");
    let info = bed.api().get("/registry")?;
    let host = info["listens"][0].as_str().context("it listens nowhere")?;
    ensure!(
        curl(host, &["--request", "PATCH"], &place)?.contains(" 404 "),
        "the upload lives on"
    );
    ensure!(
        curl(host, &[], "/v2/shop/web/manifests/1")?.contains(" 200 "),
        "the crash lost what was acknowledged"
    );
    // Nodes of the stand that lived on find it again, as soon as the daemon has looked at the stand.
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let url = "http://registry.daas.internal/v2/shop/web/manifests/1";
        let ran = bed.api().exec(
            "runs",
            "inner",
            &["/bin/busybox", "wget", "-q", "-O", "-", url],
        )?;
        if ran.code == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "nodes do not find the registry again"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs the official conformance suite, a program that `DAAS_CONFORMANCE` names, against the registry of a daemon.
///
/// The suite is `conformance/` of github.com/opencontainers/distribution-spec, built with `go build`.
///
/// # Errors
/// When there is no such program, or it finds a fault.
pub fn conformance(program: &Path) -> Result<String> {
    let suite = std::env::var_os("DAAS_CONFORMANCE")
        .context("DAAS_CONFORMANCE names no built suite; see docs/reference/registry.md")?;
    let bed = Bed::configured(
        program,
        "  spares: 0\nregistry:\n  listen: ['127.0.0.1:0']\n",
    )?;
    let (host, secret) = door(&bed)?;
    let results = bed.daemon.place().join("results");
    let mut counts = Vec::new();
    // The version that is in force, and the coming one with all that it leaves open.
    for version in ["1.1", "dev"] {
        let mut suite = Command::new(&suite);
        suite
            .current_dir(bed.daemon.place())
            .env("OCI_REGISTRY", &host)
            .env("OCI_TLS", "disabled")
            .env("OCI_REPO1", format!("conformance/one-{version}"))
            .env("OCI_REPO2", format!("conformance/two-{version}"))
            .env("OCI_USERNAME", "dev")
            .env("OCI_PASSWORD", &secret)
            .env("OCI_VERSION", version)
            .env("OCI_RESULTS_DIR", &results);
        if version == "dev" {
            for option in [
                "BLOBS_UPLOAD_CANCEL",
                "BLOBS_DIGEST_HEADER",
                "MANIFESTS_DIGEST_HEADER",
                "MANIFESTS_TAG_PARAM",
            ] {
                suite.env(format!("OCI_API_{option}"), "true");
            }
        }
        let output = suite.output().context("cannot run the suite")?;
        let junit = fs::read_to_string(results.join("junit.xml"))?;
        let line = junit
            .lines()
            .find(|line| line.contains("<testsuites"))
            .unwrap_or_default()
            .trim();
        ensure!(
            output.status.success() && !line.contains("failures="),
            "{version}: {line}\n{}",
            String::from_utf8_lossy(&output.stdout)
        );
        counts.push(format!("{version}: {line}"));
    }
    Ok(counts.join("; "))
}

/// Has the clients that people use log in, push, pull, mount and delete, all of them unmodified: skopeo, buildah, podman, docker, and
/// the `oci-client` crate in a program of its own.
///
/// # Errors
/// When one of them is refused something.
pub fn clients(program: &Path) -> Result<String> {
    let crates = crate::programs::tool("oci-client", "oci-client-trial")?;
    let bed = Bed::configured(
        program,
        "  spares: 0\nregistry:\n  listen: ['127.0.0.1:0']\n",
    )?;
    let (host, secret) = door(&bed)?;
    let mut trial = Command::new(crates)
        .args([&host, "dev"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the trial of oci-client")?;
    let mut input = trial.stdin.take().context("it takes no input")?;
    input.write_all(secret.as_bytes())?;
    drop(input);
    let output = trial.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "oci-client: {said}");
    let mut ran = 0;
    for program in crate::programs::test_programs("daas-registry")? {
        let output = Command::new(&program.path)
            .arg("clients::")
            .current_dir(&program.folder)
            .env("DAAS_SOAK", "1")
            .output()
            .context("cannot run the tests of the registry's clients")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{said}");
        ran += said.matches(" ... ok").count();
    }
    ensure!(ran >= 4, "only {ran} clients were tried");
    Ok(format!(
        "oci-client: {}; and {ran} tests of skopeo, buildah, podman and docker",
        said.trim()
    ))
}

/// Runs the rounds of push, pull and delete beside collection, `count` of them.
///
/// # Errors
/// When a blob is missing, or something is left.
pub fn rounds(count: u32) -> Result<String> {
    let programs = crate::programs::test_programs("daas-registry")?;
    let test = "no_blob_is_ever_missing";
    let mut ran = 0;
    for program in programs {
        let output = Command::new(&program.path)
            .arg(test)
            .current_dir(&program.folder)
            .env("DAAS_ROUNDS", count.to_string())
            .output()
            .context("cannot run the test")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{said}");
        ran += usize::from(said.contains("1 passed"));
    }
    ensure!(ran == 1, "the test `{test}` is not there");
    Ok(format!(
        "{count} rounds of push, pull and delete beside collection: no blob missing, nothing left"
    ))
}
