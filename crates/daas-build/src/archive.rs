//! Archives that `ADD` unpacks, read by the one tar reader of the platform.

use daas_image::tar::{Entry, Reader};
use daas_image::{Budget, Plain};
use std::fs::File;
use std::io::{self, Read, Seek};

/// An archive that is read entry by entry; between two entries it is the content of the first.
pub(crate) struct Archive {
    reader: Reader<Plain<File>>,
}

/// Opens `file` as an archive; nothing if it is none. An archive is told by its first header, as the name says nothing.
///
/// # Errors
/// What reading says.
pub(crate) fn open(mut file: File) -> io::Result<Option<Archive>> {
    let is_archive = {
        let Ok(plain) = Plain::new(file.try_clone()?, None) else {
            return Ok(None);
        };
        let mut reader = Reader::new(plain, Budget::default());
        matches!(reader.next_entry(), Ok(Some(_)))
    };
    file.rewind()?;
    if !is_archive {
        return Ok(None);
    }
    let plain = Plain::new(file, None).map_err(io::Error::other)?;
    Ok(Some(Archive {
        reader: Reader::new(plain, Budget::default()),
    }))
}

impl Archive {
    /// Returns the next entry.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        self.reader.next_entry().map_err(io::Error::other)
    }

    /// Reads to the end, so that a file that breaks off is found.
    pub(crate) fn finish(self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Archive {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read_data(buf).map_err(io::Error::other)
    }
}
