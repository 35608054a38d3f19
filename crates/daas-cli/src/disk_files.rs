use daas_spec::{Files, MAX_FILE};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The files of a project on this machine's disk.
#[derive(Debug, Default)]
pub(crate) struct DiskFiles {
    /// What came by standard input, and the path that it is known by.
    pub(crate) standard_input: Option<(String, Vec<u8>)>,
}

impl Files for DiskFiles {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some((known, bytes)) = &self.standard_input
            && known == path
        {
            return Ok(Some(bytes.clone()));
        }
        let file = match std::fs::metadata(path) {
            // A pipe or device would keep us waiting, or never end.
            Ok(meta) if !meta.is_file() => return Err("it is no ordinary file".into()),
            Ok(_) => File::open(path),
            Err(error) => Err(error),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_FILE)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        match file.and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
                _ => Err(error.to_string()),
            },
        }
    }

    fn is_dir(&self, path: &str) -> bool {
        Path::new(path).is_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_files_are_read_and_long_ones_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let files = DiskFiles {
            standard_input: Some((path("stdin"), b"x".to_vec())),
        };
        std::fs::write(path("a"), "text").unwrap();
        std::fs::write(path("long"), vec![b'a'; MAX_FILE + 100]).unwrap();
        assert_eq!(files.read(&path("a")), Ok(Some(b"text".to_vec())));
        assert_eq!(files.read(&path("stdin")), Ok(Some(b"x".to_vec())));
        assert_eq!(
            files.read(&path("long")).unwrap().unwrap().len(),
            MAX_FILE + 1
        );
        assert_eq!(
            (files.read(&path("none")), files.read(&path("a/b"))),
            (Ok(None), Ok(None))
        );
        assert!(
            files.read("/dev/zero").is_err()
                && files.read(&folder.path().display().to_string()).is_err()
        );
        assert!(files.is_dir("/") && !files.is_dir(&path("a")));
    }
}
