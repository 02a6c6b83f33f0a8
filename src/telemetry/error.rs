//! Writes an error as text, with each of its causes once. Pure.

use std::error::Error;

/// Returns the text of an error and its causes, each once.
///
/// Some libraries repeat the text of the cause in the text of an error, others do not. A chain of both kinds would
/// repeat some causes.
#[must_use]
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if text.is_empty() || words.contains(&text) {
            // Already in the text.
        } else if let Some(start) = repeated_start(&words, &text) {
            words.replace_range(start.., &text);
        } else {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

/// Returns where an end part of `words` begins that is also the beginning of `cause`.
fn repeated_start(words: &str, cause: &str) -> Option<usize> {
    let parts = words.match_indices(": ").map(|(at, separator)| at + separator.len());
    parts.chain([0]).find(|start| cause.starts_with(&words[*start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Link {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (first, rest) = texts.split_first().unwrap();
        Link(first, (!rest.is_empty()).then(|| Box::new(chain(rest))))
    }

    #[test]
    fn each_cause_is_said_once() {
        for (texts, words) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a: b: c"),
            (&["a: b: c", "b: c", "c"], "a: b: c"),
            (
                &["no way", "cannot read (x: gone)", "x: gone", "gone"],
                "no way: cannot read (x: gone)",
            ),
            (
                &["no way", "client error", "client error: refused"],
                "no way: client error: refused",
            ),
            (&["client error", "client error: refused"], "client error: refused"),
            (&["a", "", "b"], "a: b"),
        ] {
            assert_eq!(in_words(&chain(texts)), words, "{texts:?}");
        }
    }
}
