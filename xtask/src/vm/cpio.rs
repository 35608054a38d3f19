//! Archives that the kernel unpacks at boot: format "newc" (kernel, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};

/// Writes one archive; the kernel takes several, one after another.
pub(crate) struct Archive<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) const fn new(out: W) -> Self {
        Self { out, inode: 1 }
    }

    pub(crate) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, 0o040_755, &[], (0, 0))
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, 0o100_000 | mode, content, (0, 0))
    }

    /// A character device, for the console: the kernel opens it before the first process mounts `/dev`.
    pub(crate) fn device(&mut self, path: &str, mode: u32, number: (u32, u32)) -> io::Result<()> {
        self.entry(path, 0o020_000 | mode, &[], number)
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[], (0, 0))?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        content: &[u8],
        device: (u32, u32),
    ) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        write!(self.out, "070701")?;
        let fields = [
            self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name, 0,
        ];
        self.inode += 1;
        for field in fields {
            write!(self.out, "{field:08X}")?;
        }
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(&[0])?;
        // Header and name, and then the content, end on a multiple of four.
        self.pad(110 + path.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..(4 - length % 4) % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_is_what_the_kernel_document_shows() {
        let mut archive = Archive::new(Vec::new());
        archive.file("ab", 0o644, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(
            &bytes[..22],
            b"0707010000000100"
                .as_slice()
                .iter()
                .chain(b"0081A4")
                .copied()
                .collect::<Vec<_>>()
                .as_slice()
        );
        assert_eq!(&bytes[110..113], b"ab\0");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[124..130], b"070701");
    }
}
