//! The behaviours that RFC 8906 section 8 lists: no question goes without an answer, and each answer has the right code and flags.

use crate::place::{Place, question};

/// What is sent, and what must come.
struct Case {
    what: &'static str,
    message: Vec<u8>,
    rcode: u16,
    /// Bits of the flags that must be set.
    set: u16,
    /// Bits that must not.
    clear: u16,
    /// Records in the answer section.
    answers: u16,
    /// The version and the flags of the OPT record; `None` if there must be none.
    opt: Option<(u8, u16)>,
}

const QR: u16 = 0x8000;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const Z: u16 = 0x0040;
const AD: u16 = 0x0020;
const DO: u16 = 0x8000;

fn soa() -> Vec<u8> {
    question("example.test", 6, 0x1234)
}

fn with_flags(mut message: Vec<u8>, flags: u16) -> Vec<u8> {
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message
}

fn with_opt(mut message: Vec<u8>, version: u8, flags: u16, size: u16, options: &[u8]) -> Vec<u8> {
    message[11] += 1;
    message.extend_from_slice(&[0, 0, 41]);
    message.extend_from_slice(&size.to_be_bytes());
    message.extend_from_slice(&[0, version]);
    message.extend_from_slice(&flags.to_be_bytes());
    message.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
    message.extend_from_slice(options);
    message
}

fn class(mut message: Vec<u8>, class: u16) -> Vec<u8> {
    let at = message.len() - 2;
    message[at..].copy_from_slice(&class.to_be_bytes());
    message
}

/// Extended rcode, flags, answers and OPT of an answer.
fn read(answer: &[u8]) -> (u16, u16, u16, Option<(u8, u16)>) {
    let half = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    let flags = half(2);
    let mut rcode = flags & 0xf;
    // Our OPT record has no options and is the last one.
    let tail = &answer[answer.len().saturating_sub(11)..];
    let opt = (half(10) > 0 && tail[..3] == [0, 0, 41]).then(|| {
        rcode |= u16::from(tail[5]) << 4;
        (tail[6], u16::from_be_bytes([tail[7], tail[8]]))
    });
    (rcode, flags, half(6), opt)
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn cases() -> Vec<Case> {
    let case = |what, message, rcode, set, clear, answers, opt| Case {
        what,
        message,
        rcode,
        set: set | QR,
        clear: clear | Z | TC,
        answers,
        opt,
    };
    let unknown = &[0xff, 0x01, 0, 4, 1, 2, 3, 4][..];
    let cookie = &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8][..];
    let subnet = &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2][..];
    let mut two = soa();
    two[5] = 2;
    two.extend_from_slice(&soa()[12..]);
    let mut none = soa();
    none[5] = 0;
    none.truncate(12);
    let twice = with_opt(with_opt(soa(), 0, 0, 1232, &[]), 0, 0, 1232, &[]);
    let mut trailing = soa();
    trailing.push(0);
    vec![
        case(
            "8.1.1 is there a server for this zone",
            soa(),
            0,
            AA,
            RA | AD,
            1,
            None,
        ),
        case(
            "8.1.2 unknown type",
            question("example.test", 1000, 1),
            0,
            AA,
            AD,
            0,
            None,
        ),
        case(
            "8.1.3.1 CD=1",
            with_flags(soa(), 0x0010),
            0,
            AA,
            AD,
            1,
            None,
        ),
        case("8.1.3.2 AD=1", with_flags(soa(), 0x0020), 0, AA, 0, 1, None),
        case(
            "8.1.3.3 the reserved bit",
            with_flags(soa(), 0x0040),
            0,
            AA,
            AD,
            1,
            None,
        ),
        case(
            "8.1.3.4 RD=1",
            with_flags(soa(), 0x0100),
            0,
            AA | RD,
            AD | RA,
            1,
            None,
        ),
        case(
            "8.1.4 unknown opcode",
            with_flags(soa(), 0x7800),
            4,
            0x7800,
            AD | AA,
            0,
            None,
        ),
        case(
            "8.1.4 status",
            with_flags(soa(), 0x1000),
            4,
            0x1000,
            AD | AA,
            0,
            None,
        ),
        case(
            "8.2.1 EDNS 0",
            with_opt(soa(), 0, 0, 4096, &[]),
            0,
            AA,
            AD,
            1,
            Some((0, 0)),
        ),
        case(
            "8.2.2 EDNS 1",
            with_opt(soa(), 1, 0, 4096, &[]),
            16,
            0,
            AD | AA,
            0,
            Some((0, 0)),
        ),
        case(
            "8.2.3 unknown option",
            with_opt(soa(), 0, 0, 4096, unknown),
            0,
            AA,
            AD,
            1,
            Some((0, 0)),
        ),
        case(
            "8.2.4 unknown flags",
            with_opt(soa(), 0, 0x0040, 4096, &[]),
            0,
            AA,
            AD,
            1,
            Some((0, 0)),
        ),
        case(
            "8.2.5 EDNS 1 with unknown flags",
            with_opt(soa(), 1, 0x0040, 4096, &[]),
            16,
            0,
            AD | AA,
            0,
            Some((0, 0)),
        ),
        case(
            "8.2.6 EDNS 1 with an unknown option",
            with_opt(soa(), 1, 0, 4096, unknown),
            16,
            0,
            AD | AA,
            0,
            Some((0, 0)),
        ),
        case(
            "8.2.7 DO=1",
            with_opt(soa(), 0, DO, 4096, &[]),
            0,
            AA,
            AD,
            1,
            Some((0, DO)),
        ),
        case(
            "8.2.8 EDNS 1 with DO=1",
            with_opt(soa(), 1, DO, 4096, &[]),
            16,
            0,
            AD | AA,
            0,
            Some((0, DO)),
        ),
        case(
            "8.2.9 cookie, client subnet",
            with_opt(soa(), 0, 0, 4096, &[cookie, subnet].concat()),
            0,
            AA,
            AD,
            1,
            Some((0, 0)),
        ),
        case(
            "a buffer below 512",
            with_opt(soa(), 0, 0, 100, &[]),
            0,
            AA,
            AD,
            1,
            Some((0, 0)),
        ),
        case(
            "EDNS and an unknown type",
            with_opt(question("example.test", 1000, 1), 0, 0, 512, &[]),
            0,
            AA,
            AD,
            0,
            Some((0, 0)),
        ),
        case(
            "a name that is not there",
            question("x.y.z.example.test", 1, 1),
            3,
            AA,
            AD,
            0,
            None,
        ),
        case("another class", class(soa(), 3), 5, 0, AA, 0, None),
        case("any class", class(soa(), 255), 0, AA, AD, 1, None),
        case(
            "a zone that is not ours",
            question("example.org", 6, 1),
            5,
            0,
            AA | RA,
            0,
            None,
        ),
        case("the root", question(".", 2, 1), 5, 0, AA | RA, 0, None),
        case(
            "ANY is answered with little",
            question("example.test", 255, 1),
            0,
            AA,
            AD,
            1,
            None,
        ),
        case(
            "AXFR from a stranger over UDP",
            question("example.test", 252, 1),
            5,
            0,
            AA,
            0,
            None,
        ),
        case(
            "mailboxes of 1983",
            question("example.test", 253, 1),
            4,
            0,
            AA,
            0,
            None,
        ),
        case("TKEY", question("example.test", 249, 1), 4, 0, AA, 0, None),
        case(
            "OPT as a question",
            question("example.test", 41, 1),
            1,
            0,
            AA,
            0,
            None,
        ),
        case("two questions", two, 1, 0, AA, 0, None),
        case("no question", none, 1, 0, AA, 0, None),
        case("two OPT records", twice, 1, 0, AA, 0, None),
        case("octets behind the end", trailing, 1, 0, AA, 0, None),
        case("a cut question", soa()[..20].to_vec(), 1, 0, AA, 0, None),
        case(
            "an update without a key",
            with_flags(soa(), 0x2800),
            5,
            0x2800,
            AA,
            0,
            None,
        ),
        case(
            "a NOTIFY for our own zone",
            with_flags(soa(), 0x2000),
            5,
            0x2000,
            AA,
            0,
            None,
        ),
    ]
}

#[test]
fn every_question_of_rfc_8906_is_answered_rightly_over_udp_and_tcp() {
    let place = Place::of("example.test", &["@ A 192.0.2.1"]);
    for case in cases() {
        for (way, answer) in [
            ("udp", place.udp(&case.message)),
            ("tcp", place.tcp(&case.message)),
        ] {
            let what = format!("{} over {way}", case.what);
            assert_eq!(answer[..2], case.message[..2], "{what}: id");
            let (rcode, flags, answers, opt) = read(&answer);
            assert_eq!(rcode, case.rcode, "{what}: rcode");
            assert_eq!(flags & case.set, case.set, "{what}: flags {flags:04x}");
            assert_eq!(flags & case.clear, 0, "{what}: flags {flags:04x}");
            assert_eq!(answers, case.answers, "{what}: answers");
            assert_eq!(opt, case.opt, "{what}: OPT");
        }
    }
}

#[test]
fn answers_and_noise_are_met_with_silence() {
    let place = Place::of("example.test", &[]);
    assert!(place.is_silent_about(&with_flags(soa(), QR)), "an answer");
    assert!(place.is_silent_about(&[1, 2, 3]), "noise");
    assert!(place.is_silent_about(&[]), "nothing");
}
