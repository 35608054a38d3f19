//! Images are made from packages once on a machine and then kept as archives in the user's cache.

use crate::program::Program;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Gives the daemon every image of the examples: from the cache, or made anew and put there.
pub(crate) fn bring_in(program: &Program, examples: &Path) -> Result<(), String> {
    let cache = cache()?;
    fs::create_dir_all(&cache)
        .map_err(|error| format!("cannot make {}: {error}", cache.display()))?;
    let list = make(program, examples, &["--list"])?;
    // Two at a time: one waits for the disk while the other unpacks.
    let waiting = Mutex::new(list.lines());
    let work = || -> Result<(), String> {
        while let Some(line) = next(&waiting) {
            bring_one(program, examples, &cache, line)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work()?;
        other
            .join()
            .map_err(|_| "bringing in images panicked".to_owned())?
    })
}

fn next<'a>(waiting: &Mutex<std::str::Lines<'a>>) -> Option<&'a str> {
    waiting.lock().ok()?.next()
}

/// Brings in the image of one line of `make-images --list`: its names, `|`, how it is made.
fn bring_one(program: &Program, examples: &Path, cache: &Path, line: &str) -> Result<(), String> {
    let mut names = line
        .split(" |")
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let Some(name) = names.next() else {
        return Ok(());
    };
    let recipe = recipe(examples, name, line)?;
    let archive = cache.join(format!("{name}-{recipe:016x}.tar"));
    if archive.exists() {
        program.run(&["image", "load", text(&archive)?])?;
    } else {
        println!("making example/{name}");
        make(program, examples, &[name])?;
        forget_older(cache, name);
        // Whoever runs beside this sees a whole archive or none.
        let part = cache.join(format!(".{name}-{}.part", std::process::id()));
        program.run(&[
            "image",
            "save",
            &format!("example/{name}"),
            "--output",
            text(&part)?,
        ])?;
        fs::rename(&part, &archive)
            .map_err(|error| format!("cannot keep {}: {error}", archive.display()))?;
    }
    for other in names {
        program.run(&[
            "image",
            "tag",
            &format!("example/{name}"),
            &format!("example/{other}"),
        ])?;
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str()
        .ok_or_else(|| format!("{} is no text", path.display()))
}

fn cache() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    base.map(|base| base.join("daas-test-images"))
        .ok_or_else(|| "no home folder to keep images in".into())
}

/// Returns a number that is another one when an image is to be made in another way: its line, and the files of its name.
fn recipe(examples: &Path, name: &str, line: &str) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(line.as_bytes());
    let folder = fs::read_dir(examples.join("images"))
        .map_err(|error| format!("cannot list the files of images: {error}"))?;
    let mut files: Vec<PathBuf> = folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    for file in files.iter().filter(|file| {
        file.file_name()
            .is_some_and(|own| own.to_string_lossy().starts_with(&format!("{name}-")))
    }) {
        hasher.write(
            &fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?,
        );
    }
    Ok(hasher.finish())
}

fn forget_older(cache: &Path, name: &str) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if file
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".tar"))
        {
            // What cannot be removed only takes room.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn make(program: &Program, examples: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(examples.join("make-images"));
    let output = program
        .environment(&mut command)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run make-images: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "make-images {arguments:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
