//! SPDX licence expressions, as far as crates use them (SPDX specification 2.3, annex D).

/// Tells whether the terms can be met with licences that `known` accepts.
///
/// `OR` gives a choice, `AND` asks for both; the old form `MIT/Apache-2.0` is a choice. An exception after `WITH` only
/// adds rights, so the licence before it decides. What cannot be read does not hold.
pub(crate) fn holds(terms: &str, known: impl Fn(&str) -> bool) -> bool {
    let spaced = terms
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let answer = choice(&words, &mut at, &known);
    answer && at == words.len()
}

fn choice(words: &[&str], at: &mut usize, known: &impl Fn(&str) -> bool) -> bool {
    let mut answer = both(words, at, known);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        answer |= both(words, at, known);
    }
    answer
}

fn both(words: &[&str], at: &mut usize, known: &impl Fn(&str) -> bool) -> bool {
    let mut answer = one(words, at, known);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        answer &= one(words, at, known);
    }
    answer
}

fn one(words: &[&str], at: &mut usize, known: &impl Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let answer = choice(words, at, known);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return answer && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    known(word)
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn a_choice_needs_one_and_a_sum_needs_all() {
        let known = |word: &str| word == "MIT" || word == "Apache-2.0";
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Unlicense",
            "(GPL-3.0 OR MIT) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(holds(good, known), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR GPL-3.0) AND GPL-2.0",
            "(MIT",
            "MIT MIT",
        ] {
            assert!(!holds(bad, known), "{bad}");
        }
    }
}
