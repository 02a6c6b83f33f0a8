//! Cleans text of others (AWS, a proxy, the API server) for a status, an Event or a log line. Pure.
//!
//! Amplify runs its command line for every job. Therefore a job's error is the output of a terminal: a command, a
//! coloured table, and the cause in its last lines (aws-amplify/amplify-studio#277, #324, #346, #369).

use std::{borrow::Cow, fmt::Write as _};

use sha2::{Digest as _, Sha256};

/// How much of the first line of a job's error is kept, in bytes. This line names the command that failed.
const HEAD: usize = 200;
/// How much of the end of a job's error is kept, in bytes. The end names the cause.
const TAIL: usize = 800;
/// Replaces the part that is left out.
const GAP: &str = " … ";

/// Returns the SHA-256 of these bytes, in hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Returns the text on one line, without terminal sequences, control characters and box-drawing characters.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_sequence(&mut characters),
            // The same as ESC [.
            '\u{9b}' => skip_parameters(&mut characters),
            character if character.is_whitespace() || is_line_separator(character) => {
                if !cleaned.is_empty() && !cleaned.ends_with(' ') {
                    cleaned.push(' ');
                }
            }
            character if is_invisible(character) || is_box(character) => {}
            character => cleaned.push(character),
        }
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// Returns a job's error, shortened to its first line and its end, where AWS puts the cause: at most 1,003 bytes.
#[must_use]
pub fn summary(text: &str) -> String {
    let whole = clean(text);
    if whole.len() <= HEAD + TAIL {
        return whole;
    }
    let first = text
        .lines()
        .map(clean)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let head = &first[..first.floor_char_boundary(HEAD)];
    let tail = &whole[whole.ceil_char_boundary(whole.len() - TAIL)..];
    format!("{}{GAP}{}", head.trim_end(), tail.trim_start())
}

/// Returns the text, cut in its middle to `limit` bytes. A fifth of the kept text is its beginning, the rest its end.
#[must_use]
pub fn shortened(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let Some(room) = limit.checked_sub(GAP.len()) else {
        return Cow::Borrowed(&text[..text.floor_char_boundary(limit)]);
    };
    let head = text.floor_char_boundary(room / 5);
    let tail = text.ceil_char_boundary(text.len() - (room - room / 5));
    Cow::Owned(format!("{}{GAP}{}", &text[..head], &text[tail..]))
}

/// Returns the text with escapes such as `\n` and `\u{1b}` for every character that ends a line, controls a terminal or
/// is invisible.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_invisible(c) || is_line_separator(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.extend(c.escape_default()),
            c if is_invisible(c) || is_line_separator(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Skips the rest of a sequence after an ESC: a CSI sequence with its parameters, an OSC text up to its end, or one
/// character.
fn skip_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => skip_parameters(characters),
        Some(']') => {
            while let Some(character) = characters.next() {
                let ends = match character {
                    // The end of a line counts too: an unfinished sequence must not swallow the next lines.
                    '\u{7}' | '\u{9c}' | '\n' => true,
                    '\u{1b}' => characters.next_if_eq(&'\\').is_some(),
                    _ => false,
                };
                if ends {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Skips the parameters of a CSI sequence and the character that ends it. A character that cannot end it stays.
fn skip_parameters(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while characters.next_if(|next| matches!(next, '\u{20}'..='\u{3f}')).is_some() {}
    let _ = characters.next_if(|next| matches!(next, '\u{40}'..='\u{7e}'));
}

const fn is_line_separator(character: char) -> bool {
    matches!(character, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether the character is a control character or changes the display of the text around it.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether the character is a box drawing or block element.
const fn is_box(character: char) -> bool {
    matches!(character, '\u{2500}'..='\u{259f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_without_what_draws_on_a_terminal() {
        let table = [
            ("", ""),
            ("plain", "plain"),
            ("  one\n two\r\n\tthree  ", "one two three"),
            ("\u{1b}[0m\u{1b}[90m┌────┐\u{1b}[39m Category │", "Category"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{9b}31mred", "red"),
            ("\u{1b}]0;title\u{7}shell", "shell"),
            ("\u{1b}]8;;https://x\u{1b}\\link", "link"),
            ("\u{1b}]unfinished\nstays", "stays"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[31", ""),
            ("a\u{0}b\u{7f}c\u{85}d\u{2028}e", "abc d e"),
            ("\u{202e}gnp.exe", "gnp.exe"),
            ("Grüße, 世界", "Grüße, 世界"),
        ];
        for (text, cleaned) in table {
            assert_eq!(clean(text), cleaned, "{text:?}");
        }
    }

    #[test]
    fn an_escaped_text_shows_what_could_not_be_seen() {
        for (text, shown) in [
            ("plain", "plain"),
            ("Grüße, 世界 ┌─┐", "Grüße, 世界 ┌─┐"),
            ("a\nb\r\n\tc", r"a\nb\r\n\tc"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("a\0b\u{7f}c\u{9b}d\u{85}e", r"a\u{0}b\u{7f}c\u{9b}d\u{85}e"),
            ("a\u{2028}b\u{2029}c\u{feff}", r"a\u{2028}b\u{2029}c\u{feff}"),
            ("\u{202e}gnp", r"\u{202e}gnp"),
        ] {
            assert_eq!(escaped(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_summary_keeps_the_first_line_and_the_end() {
        assert_eq!(summary("no capacity"), "no capacity");
        let table = "\u{1b}[90m│\u{1b}[39m Api │ shop │ Update │\n".repeat(60);
        let text = format!(
            "Command failed with exit code 1: amplify push --yes\nSome log\n{table}\nAn error occurred: the cause"
        );
        let short = summary(&text);
        assert!(
            short.starts_with("Command failed with exit code 1: amplify push --yes … "),
            "{short}"
        );
        assert!(short.ends_with("An error occurred: the cause"), "{short}");
        assert!(short.len() <= HEAD + TAIL + GAP.len(), "{}", short.len());
        // One very long line, with characters of several bytes at both cuts.
        let short = summary(&"ü".repeat(5000));
        assert!(
            short.len() <= HEAD + TAIL + GAP.len() && short.len() > 990,
            "{}",
            short.len()
        );
        assert_eq!(summary(&"x".repeat(1000)).len(), 1000, "what fits is whole");
    }

    #[test]
    fn a_shortened_text_keeps_both_ends_and_its_limit() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("0123456789abcdefghij", 15), "01 … cdefghij");
        for limit in 0..40 {
            assert!(shortened(&"世".repeat(20), limit).len() <= limit, "{limit}");
        }
    }
}
