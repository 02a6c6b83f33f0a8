//! Makes names of Kubernetes objects from AWS's names. Pure.
//!
//! A name is readable if possible. It carries a digest of the AWS object's identity if it would be too long, or if
//! another object would get the same name.

use std::collections::BTreeMap;

use crate::api::text::digest;

/// Kubernetes allows 253 characters, but long names are hard to read and break tables.
const LONGEST: usize = 63;
/// The number of digest digits in a name, from the first try to the last.
const DIGITS: [usize; 5] = [0, 8, 16, 24, 40];

/// Returns the text in lowercase letters, digits and single dashes. The result may be empty.
pub(super) fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c.to_ascii_lowercase());
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(label.trim_end_matches('-').len());
    label
}

/// Returns a name for each identity, made from its parts. The names are unique, and the same input gives the same
/// names.
pub(super) fn unique(wanted: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, String> {
    let mut tries: BTreeMap<&str, usize> = wanted.keys().map(|identity| (identity.as_str(), 0)).collect();
    loop {
        let names: BTreeMap<&str, String> = tries
            .iter()
            .map(|(identity, tried)| (*identity, name(identity, &wanted[*identity], *tried)))
            .collect();
        let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (identity, name) in &names {
            owners.entry(name).or_default().push(identity);
        }
        let mut is_unique = true;
        for identity in owners.values().filter(|owners| owners.len() > 1).flatten() {
            let longer = tries.entry(identity).or_default();
            if *longer + 1 < DIGITS.len() {
                *longer += 1;
                is_unique = false;
            }
        }
        if is_unique {
            return names
                .into_iter()
                .map(|(identity, name)| (identity.to_owned(), name))
                .collect();
        }
    }
}

fn name(identity: &str, parts: &[String], tried: usize) -> String {
    let labels: Vec<String> = parts
        .iter()
        .map(|part| label(part))
        .filter(|label| !label.is_empty())
        .collect();
    let plain = labels.join("-");
    let fits = !plain.is_empty() && plain.len() <= LONGEST;
    let digits = DIGITS[if fits { tried } else { tried.max(1) }];
    if digits == 0 {
        return plain;
    }
    let digest = digest(identity.as_bytes());
    let start: String = plain.chars().take(LONGEST - 1 - digits).collect();
    let start = start.trim_end_matches('-');
    let start = if start.is_empty() { "x" } else { start };
    format!("{start}-{}", &digest[..digits])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(wanted: &[(&str, &[&str])]) -> Vec<String> {
        let wanted = wanted
            .iter()
            .map(|(identity, parts)| ((*identity).to_owned(), parts.iter().map(ToString::to_string).collect()))
            .collect();
        unique(&wanted).into_values().collect()
    }

    #[test]
    fn a_name_is_made_of_the_apps_and_the_environments() {
        assert_eq!(
            named(&[("d1/staging", &["Store Front!", "staging"])]),
            ["store-front-staging"]
        );
        assert_eq!(named(&[("d1/Qa_1", &["shop", "Qa_1"])]), ["shop-qa-1"]);
        assert_eq!(named(&[("d1/dev", &["商店", "dev"])]), ["dev"]);
        assert_eq!(label("--a__B--"), "a-b");
    }

    #[test]
    fn what_would_have_the_same_name_gets_a_digest_and_nothing_else_does() {
        let names = named(&[
            ("d1/Dev", &["shop", "Dev"]),
            ("d1/dev", &["shop", "dev"]),
            ("d1/qa", &["shop", "qa"]),
            ("d2/b-dev", &["a", "b-dev"]),
            ("d3/dev", &["a-b", "dev"]),
        ]);
        assert_eq!(
            names,
            [
                "shop-dev-2279742e",
                "shop-dev-230380bd",
                "shop-qa",
                "a-b-dev-e8b0a388",
                "a-b-dev-ec2d436b"
            ]
        );
    }

    #[test]
    fn long_and_empty_names_get_a_digest() {
        let long = "e".repeat(255);
        let names = named(&[("a", &["shop", &long]), ("b", &["", "商"])]);
        assert_eq!(names[0].len(), LONGEST);
        assert!(names[1].starts_with("x-"), "{names:?}");
    }

    proptest! {
        #[test]
        fn names_are_unique_and_kubernetes_takes_them(parts in prop::collection::btree_map(
            "[a-b]{1,3}", prop::collection::vec("[aA_. é-]{0,40}", 1..4), 1..12,
        )) {
            let names = unique(&parts);
            let distinct: std::collections::BTreeSet<_> = names.values().collect();
            prop_assert_eq!(distinct.len(), parts.len());
            for name in names.values() {
                let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                prop_assert!(is_plain && !name.starts_with('-') && !name.ends_with('-'), "{}", name);
                prop_assert!((1..=LONGEST).contains(&name.len()), "{}", name);
            }
        }
    }
}
