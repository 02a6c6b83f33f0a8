//! Each folder of `src` names only the things that its `//!` permits, and files do not need each other in circles.
//! Determined from the text of imports and calls.

mod circles;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use amplify_operator::api::{KindName, Operation, Read};

/// A rule: words that must not occur in some places.
struct Rule {
    /// Files and folders of `src`.
    places: &'static [&'static str],
    /// The exceptions among these.
    except: &'static [&'static str],
    /// Returns the words that must not occur there.
    words: fn() -> Vec<String>,
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        places: &[
            "lifecycle",
            "controller",
            "amplify",
            "telemetry",
            "operator.rs",
            "leader",
        ],
        except: &[],
        words: kinds,
        why: "a kind is named in its own files and in the list of kinds alone",
    },
    Rule {
        places: &["lifecycle", "controller", "telemetry", "operator.rs", "leader"],
        except: &[],
        words: operations,
        why: "an operation of AWS is named in the table of operations and in its kind's file alone",
    },
    Rule {
        places: &[""],
        except: &["amplify", "kinds"],
        words: || owned(&["aws_sdk_"]),
        why: "the AWS SDK is for the port and the kinds alone",
    },
    Rule {
        places: &[
            "lifecycle",
            "api",
            "controller/index.rs",
            "controller/patches.rs",
            "leader/rules.rs",
            "fair_queue.rs",
        ],
        except: &[],
        words: || {
            owned(&[
                "tokio",
                "kube::Client",
                "kube::Api",
                "std::fs",
                "std::net",
                "async fn",
                ".await",
                "SystemTime",
            ])
        },
        why: "what is pure does no I/O, waits for nothing and knows no clock",
    },
    Rule {
        places: &["lifecycle"],
        except: &[],
        words: || {
            owned(&[
                "crate::amplify",
                "crate::controller",
                "crate::kinds",
                "crate::telemetry",
                "kube::",
            ])
        },
        why: "the decision knows neither AWS, nor Kubernetes, nor the loop",
    },
    Rule {
        places: &["amplify"],
        except: &["amplify/throttle.rs"],
        words: || owned(&["kube::", "crate::controller", "crate::kinds"]),
        why: "the port knows neither Kubernetes nor the loop",
    },
    Rule {
        places: &["kinds"],
        except: &[],
        words: || {
            owned(&[
                "kube::Client",
                "kube::Api",
                "crate::telemetry",
                "super::super",
                "controller::Context",
            ])
        },
        why: "a kind maps and asks AWS: it knows neither the API server nor the loop",
    },
    Rule {
        places: &[""],
        except: &["clock.rs"],
        words: || owned(&["Timestamp::now()", "SystemTime::now()"]),
        why: "the machine's clock is asked in one place",
    },
];

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn kinds() -> Vec<String> {
    KindName::ALL.iter().map(|kind| kind.name().to_owned()).collect()
}

fn operations() -> Vec<String> {
    let writes = Operation::ALL.iter().map(|operation| format!("{operation:?}"));
    writes.chain(Read::ALL.iter().map(|read| format!("{read:?}"))).collect()
}

/// Returns the code of each file below this folder, without comments and tests, with its path from this folder.
fn code(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut folders = vec![root.to_owned()];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path: PathBuf = entry?.path();
            let name = path.strip_prefix(root).map_err(io::Error::other)?.display().to_string();
            let is_code = path.extension().is_some_and(|extension| extension == "rs");
            if path.is_dir() {
                folders.push(path);
            } else if is_code && !name.ends_with("tests.rs") && !name.contains("/tests/") {
                let text = fs::read_to_string(&path)?;
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let text = text
                    .split("#[cfg(test)]\npub(crate) mod tests {")
                    .next()
                    .unwrap_or_default();
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code = lines.collect::<Vec<_>>().join("\n");
                // A service of AWS has the name of a kind.
                all.push((name, code.replace("Service::AmplifyBackend", "Service")));
            }
        }
    }
    Ok(all)
}

/// Whether the word occurs in the code on its own, not as a part of another word.
fn names(code: &str, word: &str) -> bool {
    let is_inner = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (code[..at].chars().next_back(), code[at + word.len()..].chars().next());
        let begins = word.starts_with(|c: char| c.is_alphanumeric()) && is_inner(before);
        let ends = word.ends_with(|c: char| c.is_alphanumeric()) && is_inner(after);
        !begins && !ends
    })
}

#[test]
fn each_folder_names_only_what_its_first_lines_let_it_name() -> io::Result<()> {
    let all = code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))?;
    assert!(all.len() > 60, "{} files", all.len());
    let is_in = |name: &str, place: &str| place.is_empty() || name == place || name.starts_with(&format!("{place}/"));
    let mut found = Vec::new();
    for rule in RULES {
        for (name, code) in &all {
            let is_ruled = rule.places.iter().any(|place| is_in(name, place));
            if !is_ruled || rule.except.iter().any(|place| is_in(name, place)) {
                continue;
            }
            let words = (rule.words)();
            let named = words.iter().filter(|word| names(code, word));
            found.extend(named.map(|word| format!("src/{name} names {word}: {}", rule.why)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

#[test]
fn a_word_is_found_where_it_stands_by_itself() {
    for (code, word, is_there) in [
        ("use aws_sdk_amplify::types;", "aws_sdk_", true),
        ("let kind = AmplifyBackend::NAME;", "AmplifyBackend", true),
        ("Service::AmplifyBackendX", "AmplifyBackend", false),
        ("MyAmplifyBackend", "AmplifyBackend", false),
        ("x.await?", ".await", true),
    ] {
        assert_eq!(names(code, word), is_there, "{word} in {code}");
    }
}
