//! What the tools say when a distribution does not have what was asked for.

/// Tells from apt's words what the distribution at `base` does not have; nothing where something else went wrong.
pub(super) fn missing(base: &str, said: &[String]) -> Option<String> {
    let quoted = |line: &str, start: &str, end: &str| {
        let rest = line.split_once(start)?.1;
        let word = if end.is_empty() {
            rest
        } else {
            rest.split_once(end)?.0
        };
        Some(format!("`{}`", word.trim().escape_debug()))
    };
    let mut packages: Vec<String> = said
        .iter()
        .filter_map(|line| {
            quoted(line, "E: Unable to locate package ", "")
                .or_else(|| quoted(line, "E: Package '", "' has no installation candidate"))
                .or_else(|| {
                    let version = quoted(line, "E: Version '", "' for '")?;
                    let package = quoted(line, "' for '", "' was not found")?;
                    Some(format!("{package} in version {version}"))
                })
        })
        .collect();
    packages.dedup();
    let (distribution, suite) = base.split_once(':')?;
    if !packages.is_empty() {
        let noun = if packages.len() == 1 {
            "package"
        } else {
            "packages"
        };
        return Some(format!(
            "{distribution} {suite} has no {noun} {}",
            packages.join(", ")
        ));
    }
    // Updates and security of a release are repositories of their own.
    let release = format!(" {suite} Release' does not have a Release file.");
    said.iter()
        .any(|line| line.ends_with(&release))
        .then(|| format!("there is no release `{suite}` of {distribution} at the mirror"))
}

#[cfg(test)]
mod tests {
    use super::missing;

    fn of(lines: &[&str]) -> Option<String> {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        missing("debian:bookworm", &lines)
    }

    #[test]
    fn what_a_distribution_does_not_have_is_told_in_one_sentence() {
        assert_eq!(
            of(&[
                "Building dependency tree...",
                "E: Unable to locate package nginxx",
                "E: Package 'libfoo' has no installation candidate",
                "E: Version '9.9' for 'redis' was not found",
                "E: setup failed: E: apt-get --yes install nginxx failed",
            ])
            .unwrap(),
            "debian bookworm has no packages `nginxx`, `libfoo`, `redis` in version `9.9`"
        );
        assert_eq!(
            of(&[
                "E: The repository 'http://mirror.test/debian bookworm Release' does not have a Release file."
            ])
            .unwrap(),
            "there is no release `bookworm` of debian at the mirror"
        );
        assert_eq!(
            of(&[
                "E: The repository 'http://mirror.test/debian bookworm-updates Release' does not have a Release file.",
                "E: Could not connect"
            ]),
            None
        );
    }
}
