//! An image of very many files.

use super::bed::Bed;
use crate::house::docker_archive;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// Loads an image of `count` empty files, runs it, counts them inside, and throws it away.
///
/// # Errors
/// When a file is missing or something is left.
pub fn million_files(program: &Path, count: usize) -> Result<String> {
    let bed = Bed::new(program)?;
    let place = tempfile::tempdir().context("cannot make a folder")?;
    std::fs::create_dir(place.path().join("bin"))?;
    std::fs::copy("/bin/busybox", place.path().join("bin/busybox"))?;
    let mut folder = place.path().to_owned();
    for number in 0..count {
        if number % 1000 == 0 {
            folder = place.path().join(format!("d{}", number / 1000));
            std::fs::create_dir(&folder)?;
        }
        std::fs::File::create(folder.join(number.to_string()))?;
    }
    let archive = docker_archive("files:latest", place.path(), &json!({}))?;
    let started = Instant::now();
    bed.api().load_image(&archive)?;
    let loaded = started.elapsed();
    let project =
        bed.project("  one: {image: 'files:latest', command: [/bin/busybox, sleep, '1000']}\n");
    bed.api().up("files", &project, 0)?;
    let line = "busybox find / -xdev -type f -empty | busybox wc -l";
    let ran = bed
        .api()
        .exec("files", "one", &["/bin/busybox", "sh", "-c", line])?;
    let seen: usize = String::from_utf8_lossy(&ran.out)
        .trim()
        .parse()
        .context("no number")?;
    ensure!(seen >= count, "{seen} of {count} files are there");
    bed.api().down("files")?;
    bed.api().delete("/images/files:latest")?;
    Ok(format!(
        "{count} files loaded in {:.1} s, all seen inside",
        loaded.as_secs_f64()
    ))
}
