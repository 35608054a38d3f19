//! International names in the form that the wire has (RFC 3492), to be told to who wrote one.

const BASE: u32 = 36;
const LEAST: u32 = 1;
const MOST: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;

/// Returns the form of a name in ASCII, `xn--...`; nothing where its letters would have to be put together first (marks of their own, RFC 5891 section 4.2.1).
pub(crate) fn ascii_form(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    if name.chars().any(is_mark) {
        return None;
    }
    let labels: Option<Vec<String>> = name.split('.').map(ascii_label).collect();
    labels.map(|labels| labels.join("."))
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
}

fn ascii_label(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    encode(label).map(|encoded| format!("xn--{encoded}"))
}

/// Encodes a label (RFC 3492 section 6.3).
fn encode(label: &str) -> Option<String> {
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let all = u32::try_from(label.chars().count()).ok()?;
    let (mut done, mut delta, mut bias, mut least) = (basic, 0u32, 72, 128);
    while done < all {
        let next = label.chars().map(u32::from).filter(|c| *c >= least).min()?;
        delta = delta.checked_add((next - least).checked_mul(done + 1)?)?;
        for c in label.chars().map(u32::from) {
            if c < next {
                delta = delta.checked_add(1)?;
            }
            if c == next {
                write_number(&mut out, delta, bias);
                bias = adapt(delta, done + 1, done == basic);
                delta = 0;
                done += 1;
            }
        }
        delta = delta.checked_add(1)?;
        least = next + 1;
    }
    Some(out)
}

/// Writes a number whose digits have limits of their own (RFC 3492 section 3.3).
fn write_number(out: &mut String, number: u32, bias: u32) {
    let mut rest = number;
    let mut at = BASE;
    loop {
        let limit = at.saturating_sub(bias).clamp(LEAST, MOST);
        if rest < limit {
            break out.push(digit(rest));
        }
        out.push(digit(limit + (rest - limit) % (BASE - limit)));
        rest = (rest - limit) / (BASE - limit);
        at += BASE;
    }
}

fn digit(value: u32) -> char {
    // Letters are 0 to 25, `0` to `9` are 26 to 35.
    let octet = if value < 26 { value + 97 } else { value + 22 };
    char::from_u32(octet).unwrap_or('-')
}

/// Fits the limits to what has been written (RFC 3492 section 6.1).
fn adapt(delta: u32, count: u32, is_first: bool) -> u32 {
    let mut delta = delta / if is_first { DAMP } else { 2 };
    delta += delta / count;
    let mut steps = 0;
    while delta > (BASE - LEAST) * MOST / 2 {
        delta /= BASE - LEAST;
        steps += BASE;
    }
    steps + (BASE - LEAST + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn international_names_have_the_form_of_the_wire() {
        for (name, ascii) in [
            ("ö.lan.example.com", "xn--nda.lan.example.com"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("*.münchen.de.", "*.xn--mnchen-3ya.de."),
            // Samples of RFC 3492 section 7.1.
            ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
            ("ひとつ屋根の下2", "xn--2-u9tlzr9756bt3uc0v"),
            (
                "почемужеонинеговорятпорусски",
                "xn--b1abfaaepdrnnbgefbadotcwatmq2g4l",
            ),
        ] {
            assert_eq!(ascii_form(name).as_deref(), Some(ascii));
        }
        assert_eq!(ascii_form("o\u{308}.example"), None);
    }
}
