//! SFTP, version 3 (draft-ietf-secsh-filexfer-02), as OpenSSH speaks it: over the files that the calling process sees, with its rights.
//!
//! It serves one stream from its first word to its end, one question after the other, and holds nothing but open files. Who may do what
//! is the kernel's answer alone: the helper that calls it has the node's root as its own and is the node's user (security row S4).
//!
//! Not here: who gets such a stream (`daas-ssh`), and how the helper came where it is (`child_copy`).

mod attributes;
mod listing;
mod questions;
mod words;

use self::questions::Desk;
use self::words::{MOST_PACKET, Reader, Writer};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

/// The version that is spoken.
const VERSION: u32 = 3;
/// The kinds of the first two packets.
const INIT: u8 = 1;
const TOLD_VERSION: u8 = 2;

/// What is offered beyond the draft (OpenSSH's PROTOCOL, section 4), with versions.
const EXTENSIONS: [(&str, &str); 6] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

/// Serves until the stream ends. Returns how many bytes of files went by.
///
/// # Errors
/// The stream's own, and packets that are none: whoever sends those is told nothing more.
pub(crate) fn serve(input: impl Read, output: impl Write) -> io::Result<u64> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let mut output = BufWriter::with_capacity(64 << 10, output);
    let Some(first) = packet(&mut input)? else {
        return Ok(0);
    };
    let mut hello = Reader::new(&first);
    if hello.byte()? != INIT || hello.number()? < VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut told = Writer::new(TOLD_VERSION);
    told.number(VERSION);
    for (name, version) in EXTENSIONS {
        told.text(name.as_bytes());
        told.text(version.as_bytes());
    }
    output.write_all(&told.finish())?;
    output.flush()?;
    let mut desk = Desk::default();
    while let Some(question) = packet(&mut input)? {
        output.write_all(&desk.answer(&question)?)?;
        // What waits already is answered first: one write for many small answers.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()?;
    Ok(desk.moved())
}

/// Reads one packet; nothing at the end of the stream.
fn packet(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    if input.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MOST_PACKET {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0; length];
    input.read_exact(&mut packet)?;
    Ok(Some(packet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Vec<u8> {
        let mut first = Writer::new(INIT);
        first.number(3);
        first.finish()
    }

    /// Says packets and returns the answers behind the first, without their lengths.
    fn said(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut input = hello();
        input.extend(packets.concat());
        let mut output = Vec::new();
        serve(&input[..], &mut output).unwrap();
        let mut answers = Vec::new();
        let mut rest = &output[..];
        while let Some(packet) = packet(&mut rest).unwrap() {
            answers.push(packet);
        }
        assert_eq!(answers[0][..5], [TOLD_VERSION, 0, 0, 0, 3]);
        answers.split_off(1)
    }

    fn ask(kind: u8, id: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut packet = Writer::new(kind);
        packet.number(id);
        fill(&mut packet);
        packet.finish()
    }

    /// Returns kind, id and the first number behind, which is the code of a status.
    fn head(answer: &[u8]) -> (u8, u32, u32) {
        let mut reader = Reader::new(answer);
        (
            reader.byte().unwrap(),
            reader.number().unwrap(),
            reader.number().unwrap_or(0),
        )
    }

    const OK: (u8, u32) = (101, 0);

    #[test]
    fn a_file_is_written_read_renamed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string().into_bytes();
        let handle = 0_u32.to_be_bytes();
        let body = b"some words\0\xff";
        let answers = said(&[
            // Open to write, create and cut.
            ask(3, 1, |w| {
                w.text(&path("a"));
                w.number(2 | 8 | 16);
                w.number(4);
                w.number(0o640);
            }),
            ask(6, 2, |w| {
                w.text(&handle);
                w.long(0);
                w.text(body);
            }),
            ask(4, 3, |w| w.text(&handle)),
            ask(3, 4, |w| {
                w.text(&path("a"));
                w.number(1);
                w.number(0);
            }),
            ask(5, 5, |w| {
                w.text(&1_u32.to_be_bytes());
                w.long(5);
                w.number(100);
            }),
            ask(5, 6, |w| {
                w.text(&1_u32.to_be_bytes());
                w.long(500);
                w.number(100);
            }),
            ask(14, 7, |w| {
                w.text(&path("folder"));
                w.number(0);
            }),
            // A rename of version 3 replaces nothing.
            ask(18, 8, |w| {
                w.text(&path("a"));
                w.text(&path("folder"));
            }),
            ask(18, 9, |w| {
                w.text(&path("a"));
                w.text(&path("folder/b"));
            }),
            // OpenSSH names the target first.
            ask(20, 10, |w| {
                w.text(b"folder/b");
                w.text(&path("link"));
            }),
            ask(19, 11, |w| w.text(&path("link"))),
            ask(11, 12, |w| w.text(&path("folder"))),
            ask(12, 13, |w| w.text(&2_u32.to_be_bytes())),
            ask(12, 14, |w| w.text(&2_u32.to_be_bytes())),
            ask(13, 15, |w| w.text(&path("folder/b"))),
            ask(13, 16, |w| w.text(&path("folder/b"))),
            ask(15, 17, |w| w.text(&path("folder"))),
        ]);
        let heads: Vec<_> = answers.iter().map(|a| head(a)).collect();
        let status = |at: usize| (heads[at].0, heads[at].2);
        assert_eq!(
            heads.iter().map(|h| h.1).collect::<Vec<_>>(),
            (1..=17).collect::<Vec<_>>()
        );
        assert_eq!((status(1), status(2)), (OK, OK));
        assert!(answers[4].ends_with(b"words\0\xff") && answers[4][0] == 103);
        // The end of the file, a target that exists, and then what works.
        assert_eq!((status(5), status(6)), ((101, 1), OK));
        assert_eq!((status(7), status(8), status(9)), ((101, 4), OK, OK));
        assert_eq!(answers[10][0], 104);
        assert!(answers[12][0] == 104 && head(&answers[12]).2 == 3);
        assert_eq!(
            (status(13), status(14), status(15), status(16)),
            ((101, 1), OK, (101, 2), OK)
        );
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .collect();
        assert_eq!(left.len(), 1);
        assert_eq!(
            std::fs::read_link(left[0].path()).unwrap().to_str(),
            Some("folder/b")
        );
    }

    #[test]
    fn questions_about_nothing_get_answers_and_a_claimed_length_takes_no_memory() {
        let answers = said(&[
            ask(5, 1, |w| {
                w.text(b"nope");
                w.long(0);
                w.number(u32::MAX);
            }),
            ask(99, 2, |_| ()),
            ask(200, 3, |w| w.text(b"unknown@example.org")),
            ask(17, 4, |w| {
                w.text(b"/does/not/exist\0at all");
                w.number(0);
            }),
            ask(200, 5, |w| w.text(b"limits@openssh.com")),
        ]);
        let codes: Vec<_> = answers.iter().map(|a| (head(a).0, head(a).2)).collect();
        assert_eq!(codes[..3], [(101, 4), (101, 8), (101, 8)]);
        assert!(codes[3].0 == 101 && codes[3].1 != 0);
        assert_eq!(codes[4].0, 201);
        for bad in [
            &[0xff, 0xff, 0xff, 0xff][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 9, 3],
        ] {
            let mut input = hello();
            input.extend_from_slice(bad);
            assert!(serve(&input[..], &mut Vec::new()).is_err(), "{bad:?}");
        }
        assert!(serve(&b"GET / HTTP/1.1\r\n\r\n"[..], &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(packets in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..6)) {
            let mut input = hello();
            for (kind, body) in packets {
                // Whatever writes or removes stays out: the bytes could name a file.
                if matches!(kind, 3 | 6 | 9 | 10 | 13 | 14 | 15 | 18 | 20 | 200) {
                    continue;
                }
                input.extend(u32::try_from(body.len() + 1).unwrap().to_be_bytes());
                input.push(kind);
                input.extend(body);
            }
            let _ = serve(&input[..], &mut Vec::new());
        }
    }
}
