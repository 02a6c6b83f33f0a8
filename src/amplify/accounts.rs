//! The accounts file: the IAM role for the resources of each namespace, and the apps and regions that they may touch.
//! Pure: parses text, answers lookups.
//!
//! A namespace named by no entry, or by two entries, has no account: the file denies by default. External ids are never
//! shown, neither in `Debug` nor in an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, de::Visitor};

use super::{AppId, regions};
use crate::api::{conditions::truncated, rules::is_namespace};

/// Longest name of an entry, in bytes.
const NAME_LIMIT: usize = 128;
/// Longest path and name of a role, in bytes: IAM allows 512 and 64.
const ROLE_LIMIT: usize = 577;
/// How many bytes of a value an error repeats.
const SHOWN: usize = 80;

/// Why an accounts file is invalid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// The file is not YAML of the expected form.
    #[error("{0}")]
    Form(String),
    /// An entry without a usable name. The number is its position in the list.
    #[error("entry {0}: give it a name of 1 to {NAME_LIMIT} characters without control characters")]
    Name(usize),
    /// Two entries have the same name.
    #[error("two entries are named {0:?}: names are unique")]
    Twice(String),
    /// An entry is invalid.
    #[error("entry {name:?}: {why}")]
    Entry {
        /// Its name.
        name: String,
        /// The problem, and a correct value.
        why: String,
    },
}

/// An external id. It is sent only to AWS.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct ExternalId(String);

impl ExternalId {
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(external id)")
    }
}

/// Deserializes like a derived implementation, but its errors do not repeat the value.
impl<'de> Deserialize<'de> for ExternalId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Quoted;
        impl Visitor<'_> for Quoted {
            type Value = ExternalId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ExternalId, E> {
                Ok(ExternalId(text.to_owned()))
            }
        }
        // The original error may contain the value.
        from.deserialize_str(Quoted)
            .map_err(|_| serde::de::Error::custom("externalId: give a string, in quotes"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    accounts: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    name: String,
    namespaces: Vec<String>,
    role_arn: String,
    external_id: Option<ExternalId>,
    region: Option<String>,
    #[serde(default, deserialize_with = "given")]
    apps: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    regions: Option<Vec<String>>,
}

/// Reads a list that may be left out. A list without a value is read as an empty one, which is refused: it must not
/// pass for a list that is left out, which allows everything.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    let list = Option::<Vec<String>>::deserialize(from)?;
    Ok(Some(list.unwrap_or_default()))
}

/// An IAM role, with the namespaces that use it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its name, for people.
    pub name: String,
    /// The ARN of the role.
    pub role_arn: String,
    /// The account of the role.
    pub account: String,
    /// The region of resources without one.
    pub region: Option<String>,
    pub(super) external_id: Option<ExternalId>,
    namespaces: BTreeSet<String>,
    /// The only apps that its namespaces may touch.
    apps: Option<BTreeSet<AppId>>,
    /// The only regions that its namespaces may touch.
    regions: Option<BTreeSet<String>>,
}

impl Entry {
    /// Returns why the resources of its namespaces may not touch this app in this region, with the next step for
    /// people. It names nothing else that the entry allows.
    #[must_use]
    pub fn refusal(&self, region: &str, app: &AppId) -> Option<String> {
        let (list, what) = if self.apps.as_ref().is_some_and(|apps| !apps.contains(app)) {
            ("apps", format!("the app {app}"))
        } else if self.regions.as_ref().is_some_and(|regions| !regions.contains(region)) {
            ("regions", format!("the region {}", truncated(region, SHOWN)))
        } else {
            return None;
        };
        Some(format!(
            "the entry {:?} of the operator's accounts file does not list {what} under {list}, so the resources of this namespace may not touch it: have an administrator add it there, or correct the resource",
            truncated(&self.name, SHOWN)
        ))
    }

    /// Whether the sessions of one entry can be used for the other.
    pub(super) fn is_same_identity(&self, other: &Self) -> bool {
        self.role_arn == other.role_arn && self.external_id == other.external_id && self.region == other.region
    }
}

/// The entry of a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lookup<'a> {
    /// One entry names it.
    Entry(&'a Arc<Entry>),
    /// No entry names it.
    None,
    /// More than one entry names it: their names.
    Ambiguous(Vec<&'a str>),
}

impl Lookup<'_> {
    /// Returns the message for a namespace without an account.
    #[must_use]
    pub fn missing(&self, namespace: &str) -> Option<String> {
        match self {
            Self::Entry(_) => None,
            Self::None => Some(format!(
                "no entry of the operator's accounts file names the namespace {namespace}: have an administrator add it to the namespaces of one entry"
            )),
            Self::Ambiguous(names) => Some(format!(
                "more than one entry of the operator's accounts file names the namespace {namespace} ({}): have an administrator leave it in one of them",
                truncated(&names.join(", "), 4 * SHOWN)
            )),
        }
    }

    /// Returns a digest of everything in the entry that matters to the resources of the namespace. Never 0.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Entry(entry) => {
                let role = (&entry.role_arn, &entry.external_id, &entry.region);
                (0_u8, role, &entry.apps, &entry.regions).hash(&mut hasher);
            }
            Self::None => 1_u8.hash(&mut hasher),
            Self::Ambiguous(names) => (2_u8, names).hash(&mut hasher),
        }
        hasher.finish().max(1)
    }
}

/// A valid accounts file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Accounts {
    by_namespace: BTreeMap<String, Vec<Arc<Entry>>>,
    entries: usize,
}

impl Accounts {
    /// Parses a file. `allowed_regions`: the regions that a setting allows besides the known ones.
    pub fn parse(yaml: &str, allowed_regions: &[String]) -> Result<Self, Invalid> {
        // Snippets would show the text near the error, including external ids.
        let options = serde_saphyr::options! { with_snippet: false };
        let file: File = serde_saphyr::from_str_with_options(yaml, options)
            .map_err(|error| Invalid::Form(truncated(&error.to_string(), 512).to_owned()))?;
        let mut accounts = Self::default();
        let mut names = BTreeSet::new();
        for (place, raw) in file.accounts.into_iter().enumerate() {
            let entry = Arc::new(entry(raw, place, allowed_regions)?);
            if !names.insert(entry.name.clone()) {
                return Err(Invalid::Twice(entry.name.clone()));
            }
            for namespace in &entry.namespaces {
                let entries = accounts.by_namespace.entry(namespace.clone()).or_default();
                entries.push(entry.clone());
            }
        }
        accounts.entries = names.len();
        Ok(accounts)
    }

    /// Returns the entry of a namespace.
    #[must_use]
    pub fn for_namespace(&self, namespace: &str) -> Lookup<'_> {
        match self.by_namespace.get(namespace).map(Vec::as_slice) {
            None | Some([]) => Lookup::None,
            Some([entry]) => Lookup::Entry(entry),
            Some(entries) => Lookup::Ambiguous(entries.iter().map(|entry| entry.name.as_str()).collect()),
        }
    }

    /// Returns the namespaces that the file names.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_namespace.keys().map(String::as_str)
    }

    /// Returns the namespaces whose entries differ between the two files.
    #[must_use]
    pub fn changed(&self, other: &Self) -> BTreeSet<String> {
        let all = self.by_namespace.keys().chain(other.by_namespace.keys());
        all.filter(|name| self.for_namespace(name).digest() != other.for_namespace(name).digest())
            .cloned()
            .collect()
    }

    /// Returns the number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is no entry. Then no namespace has an account.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

fn entry(raw: Raw, place: usize, allowed_regions: &[String]) -> Result<Entry, Invalid> {
    let name = raw.name;
    if !(1..=NAME_LIMIT).contains(&name.len()) || name.chars().any(char::is_control) {
        return Err(Invalid::Name(place + 1));
    }
    let wrong = |why: String| Invalid::Entry {
        name: name.clone(),
        why,
    };
    if raw.namespaces.is_empty() {
        return Err(wrong("namespaces: name at least one".to_owned()));
    }
    if let Some(namespace) = raw.namespaces.iter().find(|namespace| !is_namespace(namespace)) {
        return Err(wrong(format!(
            "namespaces: {:?} is not the name of a namespace; names are exact, without patterns",
            truncated(namespace, SHOWN)
        )));
    }
    let account = account_of_role(&raw.role_arn).ok_or_else(|| {
        wrong(format!(
            "roleArn: {:?} is not of the form arn:aws:iam::<12 digits>:role/<name>",
            truncated(&raw.role_arn, SHOWN)
        ))
    })?;
    if raw.external_id.as_ref().is_some_and(|id| !is_external_id(&id.0)) {
        return Err(wrong(
            "externalId: give 2 to 1224 letters, digits and characters of _+=,.@:/-".to_owned(),
        ));
    }
    if let Some(region) = raw.region.as_ref().filter(|region| !regions::is_name(region)) {
        return Err(wrong(format!(
            "region: {:?} is not an AWS region",
            truncated(region, SHOWN)
        )));
    }
    let apps = raw.apps.as_deref().map(apps).transpose().map_err(wrong)?;
    let regions = raw.regions.map(|list| regions_of(list, allowed_regions));
    let regions = regions.transpose().map_err(wrong)?;
    if let (Some(region), Some(regions)) = (&raw.region, &regions)
        && !regions.contains(region)
    {
        return Err(wrong(format!("region: {region} is not in regions: add it there")));
    }
    Ok(Entry {
        account: account.to_owned(),
        role_arn: raw.role_arn.clone(),
        region: raw.region,
        external_id: raw.external_id,
        namespaces: raw.namespaces.into_iter().collect(),
        apps,
        regions,
        name,
    })
}

/// The advice about a list without a value.
const EMPTY: &str = "name at least one, or leave the list out to allow all";

fn apps(list: &[String]) -> Result<BTreeSet<AppId>, String> {
    if list.is_empty() {
        return Err(format!("apps: {EMPTY}"));
    }
    let parsed = list.iter().map(|app| app.parse::<AppId>());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|invalid| format!("apps: {invalid}"))
}

fn regions_of(list: Vec<String>, allowed: &[String]) -> Result<BTreeSet<String>, String> {
    if list.is_empty() {
        return Err(format!("regions: {EMPTY}"));
    }
    match list.iter().find_map(|region| regions::refusal(region, allowed)) {
        Some(why) => Err(format!("regions: {why}")),
        None => Ok(list.into_iter().collect()),
    }
}

fn is_external_id(text: &str) -> bool {
    (2..=1224).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte))
}

/// Whether this is a valid id of an AWS account.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the account of `arn:<partition>:iam::<account>:role/<path and name>`.
fn account_of_role(arn: &str) -> Option<&str> {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else {
        return None;
    };
    let is_partition = (partition == "aws" || partition.starts_with("aws-"))
        && partition.split('-').all(|word| !word.is_empty())
        && partition
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && partition.len() <= 32;
    let role = resource.strip_prefix("role/")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    let is_role = role.len() <= ROLE_LIMIT
        && role
            .split('/')
            .all(|part| !part.is_empty() && part.bytes().all(allowed));
    (is_partition && is_account(account) && is_role).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
accounts:
  - name: team-a
    namespaces: [a, a-staging]
    roleArn: arn:aws:iam::111111111111:role/amplify/operator
    externalId: "s3cret-a"
    region: eu-west-1
  - name: team-b
    namespaces: [b]
    roleArn: arn:aws-us-gov:iam::222222222222:role/operator
"#;

    fn with(entry: &str) -> Result<Accounts, Invalid> {
        Accounts::parse(&format!("accounts:\n- {}\n", entry.replace('\n', "\n  ")), &[])
    }

    fn found(accounts: &Accounts, namespace: &str) -> String {
        match accounts.for_namespace(namespace) {
            Lookup::Entry(entry) => format!("{} {} {:?}", entry.name, entry.account, entry.region),
            Lookup::None => "none".to_owned(),
            Lookup::Ambiguous(names) => names.join(" and "),
        }
    }

    #[test]
    fn a_namespace_has_the_account_of_the_one_entry_that_names_it_exactly() {
        let accounts = Accounts::parse(TWO, &[]).unwrap();
        assert_eq!(accounts.len(), 2);
        for (namespace, wanted) in [
            ("a", "team-a 111111111111 Some(\"eu-west-1\")"),
            ("a-staging", "team-a 111111111111 Some(\"eu-west-1\")"),
            ("b", "team-b 222222222222 None"),
            ("A", "none"),
            ("a-", "none"),
            ("", "none"),
            ("team-a", "none"),
        ] {
            assert_eq!(found(&accounts, namespace), wanted, "{namespace}");
        }
    }

    #[test]
    fn a_namespace_that_two_entries_name_has_no_account() {
        let more =
            format!("{TWO}  - {{name: c, namespaces: [a, c, c], roleArn: \"arn:aws:iam::333333333333:role/x\"}}\n");
        let accounts = Accounts::parse(&more, &[]).unwrap();
        assert_eq!(found(&accounts, "a"), "team-a and c");
        assert_eq!(found(&accounts, "c"), "c 333333333333 None");
        let said = accounts.for_namespace("a").missing("a").unwrap();
        assert!(said.contains("namespace a (team-a, c)"), "{said}");
        let said = accounts.for_namespace("x").missing("x").unwrap();
        assert!(said.contains("namespace x: have an administrator add it"), "{said}");
        assert_eq!(accounts.for_namespace("b").missing("b"), None);
    }

    #[test]
    fn an_empty_list_gives_nobody_an_account() {
        let accounts = Accounts::parse("accounts: []", &[]).unwrap();
        assert!(accounts.is_empty());
        assert_eq!(accounts.for_namespace("a"), Lookup::None);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_entrys_name() {
        let role = "roleArn: arn:aws:iam::111111111111:role/x";
        let long = "a".repeat(64);
        for (entry, wanted) in [
            (
                format!("name: t\nnamespaces: []\n{role}"),
                "entry \"t\": namespaces: name at least one",
            ),
            (
                format!("name: t\nnamespaces: [\"*\"]\n{role}"),
                "entry \"t\": namespaces: \"*\"",
            ),
            (
                format!("name: t\nnamespaces: [A]\n{role}"),
                "entry \"t\": namespaces: \"A\"",
            ),
            (
                format!("name: t\nnamespaces: [a-]\n{role}"),
                "entry \"t\": namespaces: \"a-\"",
            ),
            (
                format!("name: t\nnamespaces: [\"\"]\n{role}"),
                "entry \"t\": namespaces: \"\"",
            ),
            (
                format!("name: t\nnamespaces: [{long}]\n{role}"),
                "entry \"t\": namespaces",
            ),
            (
                format!("name: \"\"\nnamespaces: [a]\n{role}"),
                "entry 1: give it a name",
            ),
            (format!("namespaces: [a]\n{role}"), "name"),
            (format!("name: t\n{role}"), "namespaces"),
            ("name: t\nnamespaces: [a]".to_owned(), "roleArn"),
            (format!("name: t\nnamespaces: [a]\nrole: x\n{role}"), "role"),
            (format!("name: t\nnamespaces: a\n{role}"), ""),
            (
                format!("name: t\nnamespaces: [a]\nregion: eu west\n{role}"),
                "entry \"t\": region: \"eu west\"",
            ),
            (
                format!("name: t\nnamespaces: [a]\nregion: evil.example/\n{role}"),
                "entry \"t\": region",
            ),
        ] {
            let error = with(&entry).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
        }
        let twice = TWO.replace("team-b", "team-a");
        assert_eq!(Accounts::parse(&twice, &[]), Err(Invalid::Twice("team-a".to_owned())));
        for text in [
            "",
            "{}",
            "[]",
            "accounts: {}",
            "accounts: []\nmore: 1",
            "accounts: [",
            "\u{0}",
        ] {
            assert!(Accounts::parse(text, &[]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_role_is_an_arn_with_partition_account_and_name() {
        for (arn, account) in [
            ("arn:aws:iam::111111111111:role/x", Some("111111111111")),
            (
                "arn:aws-cn:iam::111111111111:role/path/to/x_+=,.@-1",
                Some("111111111111"),
            ),
            ("arn:aws-us-gov:iam::111111111111:role/x", Some("111111111111")),
            ("arn:aws-iso-b:iam::111111111111:role/x", Some("111111111111")),
            ("arn:aws:iam::11111111111:role/x", None),
            ("arn:aws:iam::1111111111111:role/x", None),
            ("arn:aws:iam::11111111111x:role/x", None),
            ("arn:aws:iam::111111111111:user/x", None),
            ("arn:aws:iam::111111111111:role/", None),
            ("arn:aws:iam::111111111111:role/x/", None),
            ("arn:aws:iam::111111111111:role//x", None),
            ("arn:aws:iam::111111111111:role/x y", None),
            ("arn:aws:iam::111111111111:role/x:y", None),
            ("arn:aws:iam:eu-west-1:111111111111:role/x", None),
            ("arn:aws:sts::111111111111:assumed-role/x/s", None),
            ("arn:awsome:iam::111111111111:role/x", None),
            ("arn:aws-:iam::111111111111:role/x", None),
            ("arn::iam::111111111111:role/x", None),
            ("arn:aws:iam::111111111111:role/x\n", None),
            ("role/x", None),
            ("", None),
        ] {
            assert_eq!(account_of_role(arn), account, "{arn:?}");
        }
        let error = with("name: t\nnamespaces: [a]\nroleArn: arn:aws:iam::1:role/x").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("entry \"t\": roleArn: \"arn:aws:iam::1:role/x\""),
            "{error}"
        );
    }

    #[test]
    fn an_external_id_is_taken_as_it_stands() {
        for (text, id) in [
            ("0123", Some("0123")),
            ("\"1e3\"", Some("1e3")),
            ("1e3", Some("1e3")),
            ("a:b/c=d", Some("a:b/c=d")),
            ("", None),
        ] {
            let accounts = with(&format!(
                "name: t\nnamespaces: [a]\nroleArn: arn:aws:iam::111111111111:role/x\nexternalId: {text}"
            ))
            .unwrap();
            let Lookup::Entry(entry) = accounts.for_namespace("a") else {
                panic!("an entry");
            };
            assert_eq!(entry.external_id.as_ref().map(ExternalId::reveal), id, "{text}");
        }
    }

    #[test]
    fn an_external_id_is_never_shown() {
        let accounts = Accounts::parse(TWO, &[]).unwrap();
        assert!(!format!("{accounts:?}").contains("s3cret"), "{accounts:?}");
        let role = "roleArn: arn:aws:iam::111111111111:role/x";
        for id in [
            "s3cret !",
            "x",
            "\"s3cret\\n\"",
            "[s3cret]",
            "{s3cret: s3cret}",
            "s3cret: s3cret",
            "\"s3cret",
            "*s3cret",
        ] {
            for form in [
                format!("name: t\nnamespaces: [a]\n{role}\nexternalId: {id}"),
                format!("name: t\nexternalId: {id}\nnamespaces: [a]\n{role}"),
                format!("externalId: {id}\nname: t\nnamespaces: [a]\n{role}\nmore: s3cret"),
            ] {
                let error = with(&form).unwrap_err();
                assert!(!error.to_string().contains("s3cret"), "{form}\n{error}");
            }
        }
    }

    #[test]
    fn an_entry_with_lists_allows_what_both_name_and_nothing_else() {
        let role = "name: t\nnamespaces: [a]\nroleArn: arn:aws:iam::111111111111:role/x";
        for (lists, app, region, says) in [
            ("", "d1", "eu-west-1", None),
            ("apps: [d1, d2]", "d1", "eu-west-1", None),
            ("apps: [d1, d2]", "d2", "us-east-1", None),
            (
                "apps: [d1, d2]",
                "d3",
                "eu-west-1",
                Some("does not list the app d3 under apps"),
            ),
            ("apps: [d1, d2]", "d12", "eu-west-1", Some("the app d12 under apps")),
            ("regions: [eu-west-1]", "d9", "eu-west-1", None),
            (
                "regions: [eu-west-1]",
                "d9",
                "eu-west-2",
                Some("does not list the region eu-west-2 under regions"),
            ),
            ("regions: [eu-west-1]\nregion: eu-west-1", "d9", "eu-west-1", None),
            ("regions: [eu-new-1]", "d9", "eu-new-1", None),
            ("apps: [d1]\nregions: [eu-west-1]", "d1", "eu-west-1", None),
            (
                "apps: [d1]\nregions: [eu-west-1]",
                "d2",
                "eu-west-1",
                Some("under apps"),
            ),
            (
                "apps: [d1]\nregions: [eu-west-1]",
                "d1",
                "eu-west-2",
                Some("under regions"),
            ),
            (
                "apps: [d1]\nregions: [eu-west-1]",
                "d2",
                "eu-west-2",
                Some("under apps"),
            ),
        ] {
            let yaml = format!("{role}\n{lists}").trim_end().replace('\n', "\n  ");
            let accounts = Accounts::parse(&format!("accounts:\n- {yaml}\n"), &["eu-new-1".to_owned()]).unwrap();
            let Lookup::Entry(entry) = accounts.for_namespace("a") else {
                panic!("an entry");
            };
            let said = entry.refusal(region, &app.parse().unwrap());
            match says {
                None => assert_eq!(said, None, "{lists}"),
                Some(says) => {
                    let said = said.unwrap();
                    assert!(said.contains(says) && said.contains("entry \"t\""), "{lists}: {said}");
                    assert!(said.contains("have an administrator add it there"), "{said}");
                    assert!(
                        !said.contains("d1,") && !said.contains("eu-west-1"),
                        "names another: {said}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_list_that_allows_nothing_or_cannot_be_meant_is_an_error_of_the_file() {
        let role = "name: t\nnamespaces: [a]\nroleArn: arn:aws:iam::111111111111:role/x";
        for (lists, says) in [
            (
                "apps: []",
                "entry \"t\": apps: name at least one, or leave the list out to allow all",
            ),
            ("apps:", "entry \"t\": apps: name at least one"),
            ("apps: null", "entry \"t\": apps: name at least one"),
            ("apps: d1", ""),
            ("apps: [storefront]", "entry \"t\": apps: \"storefront\" is not"),
            ("apps: [d1, \"*\"]", "entry \"t\": apps: \"*\" is not"),
            ("apps: [\"../d1\"]", "entry \"t\": apps: \"../d1\" is not"),
            ("regions: []", "entry \"t\": regions: name at least one"),
            ("regions:", "entry \"t\": regions: name at least one"),
            (
                "regions: [eu-west-7]",
                "entry \"t\": regions: \"eu-west-7\" is not an AWS region",
            ),
            (
                "regions: [Ireland]",
                "entry \"t\": regions: \"Ireland\" is not an AWS region",
            ),
            (
                "regions: [eu-west-1]\nregion: eu-west-2",
                "entry \"t\": region: eu-west-2 is not in regions",
            ),
        ] {
            let error = with(&format!("{role}\n{lists}")).unwrap_err().to_string();
            assert!(error.contains(says), "{lists}: {error:?} lacks {says:?}");
        }
    }

    #[test]
    fn what_changed_are_the_namespaces_with_another_identity() {
        let before = Accounts::parse(TWO, &[]).unwrap();
        let names = |yaml: &str| before.changed(&Accounts::parse(yaml, &[]).unwrap());
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(names(TWO), set(&[]));
        assert_eq!(names(&TWO.replace("team-a", "renamed")), set(&[]));
        assert_eq!(names(&TWO.replace("s3cret-a", "other")), set(&["a", "a-staging"]));
        assert_eq!(names(&TWO.replace("eu-west-1", "eu-west-2")), set(&["a", "a-staging"]));
        assert_eq!(
            names(&TWO.replace("[a, a-staging]", "[a, c]")),
            set(&["a-staging", "c"])
        );
        assert_eq!(names(&TWO.replace("[b]", "[a, b]")), set(&["a"]));
        assert_eq!(names("accounts: []"), set(&["a", "a-staging", "b"]));
        let apps = TWO.replace("namespaces: [b]", "namespaces: [b]\n    apps: [d1]");
        assert_eq!(names(&apps), set(&["b"]));
        let regions = TWO.replace("namespaces: [b]", "namespaces: [b]\n    regions: [eu-west-1]");
        assert_eq!(names(&regions), set(&["b"]));
    }
}
