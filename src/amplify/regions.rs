//! The regions that AWS has. Pure.
//!
//! A region is free text in a spec. It becomes part of the host that receives signed requests, and each region in use
//! has its own token bucket and client. A region that AWS does not have gets neither, and no call.

use std::fmt::Write as _;

use crate::api::text;

/// How many bytes of an invalid region a message repeats.
const SHOWN: usize = 64;
/// Upper limit of regions that a message proposes.
const PROPOSED: usize = 3;
/// Largest edit distance between an invalid region and a proposed one.
const NEAR: usize = 2;

/// The regions of all AWS partitions, sorted, without pseudo regions such as `aws-global`.
///
/// Source: `partitions.json` and `endpoints.json` of botocore 1.44.5. The partitions in the AWS SDK for Rust
/// (`aws-sdk-amplifybackend` 1.120.0) have the same regions without `me-west-1` and `sa-west-1`.
const KNOWN: [&str; 48] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "me-west-1",
    "mx-central-1",
    "sa-east-1",
    "sa-west-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Whether AWS has this region, or it is allowed by a setting.
#[must_use]
pub fn is_known(region: &str, allowed: &[String]) -> bool {
    KNOWN.binary_search(&region).is_ok() || (is_name(region) && allowed.iter().any(|one| one == region))
}

/// Returns why no call is made to a region, with similar regions and how to allow it. `None`: the region is known.
#[must_use]
pub fn refusal(region: &str, allowed: &[String]) -> Option<String> {
    if is_known(region, allowed) {
        return None;
    }
    let shown = text::clean(region);
    let bare = shown.trim();
    if bare != region && is_known(bare, allowed) {
        return Some(format!(
            "{bare:?} with a blank or a line break before or after it is not an AWS region: remove the blank or the line break"
        ));
    }
    let mut message = format!("{:?} is not an AWS region", text::shortened(&shown, SHOWN));
    let near = near(region, allowed);
    // Writing to a String cannot fail.
    if let Some((last, others)) = near.split_last() {
        message += "; did you mean ";
        for other in others {
            let _ = write!(message, "{other:?} or ");
        }
        let _ = write!(message, "{last:?}?");
    } else {
        message += ": give one such as eu-west-1.";
    }
    if is_name(region) {
        message += " To allow a region that is newer than this program, use --allowed-region";
    }
    Some(message)
}

/// Whether the text has the form of a region: letters, digits and dashes, as in one label of a host name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Returns the known regions most similar to this text, if any is similar.
fn near<'a>(text: &str, allowed: &'a [String]) -> Vec<&'a str> {
    // A longer text is similar to none.
    if text.len() > 32 {
        return Vec::new();
    }
    let text = text.trim().to_ascii_lowercase();
    let known = KNOWN.iter().copied().chain(allowed.iter().map(String::as_str));
    let measured: Vec<_> = known.map(|region| (distance(&text, region), region)).collect();
    let least = measured.iter().map(|(distance, _)| *distance).min();
    let nearest = measured
        .into_iter()
        .filter(|(distance, _)| *distance <= NEAR && Some(*distance) == least)
        .map(|(_, region)| region);
    nearest.take(PROPOSED).collect()
}

/// Returns how many characters must be added, removed or replaced to turn one text into the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for (column, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regions_of_awss_partitions_are_known_and_others_are_not() {
        assert!(KNOWN.is_sorted(), "they are searched");
        assert!(KNOWN.iter().all(|region| is_name(region)));
        for region in [
            "eu-west-1",
            "us-west-2",
            "mx-central-1",
            "cn-northwest-1",
            "us-gov-west-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "eu-isoe-west-1",
            "us-isof-south-1",
            "eusc-de-east-1",
        ] {
            assert!(is_known(region, &[]), "{region}");
        }
        for region in [
            "",
            "eu-west-99",
            "eu-wst-1",
            "aws-global",
            "EU-WEST-1",
            " eu-west-1",
            "eu-west-1.evil",
            "evil.example/",
        ] {
            assert!(!is_known(region, &[]), "{region:?}");
        }
    }

    #[test]
    fn what_is_allowed_is_known_if_it_can_be_a_region() {
        let allowed = ["eu-new-1", "evil.example/", ""].map(str::to_owned);
        assert!(is_known("eu-new-1", &allowed));
        assert!(is_known("eu-west-1", &allowed));
        assert!(!is_known("evil.example/", &allowed));
        assert!(!is_known("", &allowed));
        assert!(!is_known("eu-new-2", &allowed));
    }

    #[test]
    fn the_refusal_names_what_is_near_and_how_to_allow_it() {
        const ALLOW: &str = " To allow a region that is newer than this program, use --allowed-region";
        for (region, start) in [
            (
                "eu-wst-1",
                r#""eu-wst-1" is not an AWS region; did you mean "eu-west-1"?"#,
            ),
            (
                "us-east-3",
                r#""us-east-3" is not an AWS region; did you mean "us-east-1" or "us-east-2"?"#,
            ),
            (
                "eu-west-9",
                r#""eu-west-9" is not an AWS region; did you mean "eu-west-1" or "eu-west-2" or "eu-west-3"?"#,
            ),
            (
                "eu-west-1a",
                r#""eu-west-1a" is not an AWS region; did you mean "eu-west-1"?"#,
            ),
            (
                "eu-nwe-1",
                r#""eu-nwe-1" is not an AWS region; did you mean "eu-new-1"?"#,
            ),
            (
                "mars-1",
                r#""mars-1" is not an AWS region: give one such as eu-west-1."#,
            ),
        ] {
            let said = refusal(region, &["eu-new-1".to_owned()]).unwrap();
            assert_eq!(said, format!("{start}{ALLOW}"));
        }
        // A text that can never be a region is not offered to be allowed.
        for (region, said) in [
            (
                "EU-West-1",
                r#""EU-West-1" is not an AWS region; did you mean "eu-west-1"?"#,
            ),
            (
                "Ireland",
                r#""Ireland" is not an AWS region: give one such as eu-west-1."#,
            ),
            (
                "a\u{1b}[31mb\n.",
                r#""ab ." is not an AWS region: give one such as eu-west-1."#,
            ),
        ] {
            assert_eq!(refusal(region, &[]).as_deref(), Some(said));
        }
        for region in ["eu-west-1\n", " eu-west-1", "eu-west-1\r\n"] {
            let said = refusal(region, &[]).unwrap();
            let start = "\"eu-west-1\" with a blank or a line break before or after it is not";
            assert!(said.starts_with(start), "{said}");
        }
        assert!(refusal(&"x".repeat(100_000), &[]).unwrap().len() < 256);
        assert_eq!(refusal("eu-west-1", &[]), None);
    }

    #[test]
    fn a_distance_counts_what_is_added_left_out_and_replaced() {
        for (one, other, wanted) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abd", 1),
            ("abc", "bc", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), wanted, "{one} {other}");
        }
    }
}
