//! AmplifyMetaConfig for an overview of a backend: how its users sign in, and how many resources each category has.
//! Pure.
//!
//! No kind needs this. The rules are those of [`super::meta_config`]: the text holds secrets and may be hostile, and
//! every member that is not named here is dropped while the text is read. Of most resources only the number is kept.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::meta_config::{MAX_AUTHS, Part, Tolerant, kept};
use crate::api::{conditions::truncated, text};

/// Not a category: the stacks and buckets of the project.
const PROVIDERS: &str = "providers";
const AUTH: &str = "auth";
/// A project has about fifteen categories.
const MAX_CATEGORIES: usize = 50;
/// How many bytes of a category's name are kept.
const CATEGORY_KEPT: usize = 64;
/// How many words of a list, such as the social providers, are kept.
const MAX_WORDS: usize = 20;

/// The services that are told apart, in the Amplify CLI's words. The name of any other service is dropped.
pub const SERVICES: [&str; 17] = [
    API_GATEWAY,
    "AppSync",
    COGNITO,
    "Cognito-UserPool-Groups",
    "DynamoDB",
    "GeofenceCollection",
    "Kinesis",
    "Lambda",
    "LambdaLayer",
    "Map",
    "Pinpoint",
    "PlaceIndex",
    "S3",
    "S3AndCloudFront",
    "amplifyhosting",
    "customCDK",
    "customCloudformation",
];
const COGNITO: &str = "Cognito";
const API_GATEWAY: &str = "API Gateway";
/// Counted in place of the service of a REST API of this name, which only the Amplify CLI's admin queries have. AWS's text has no
/// such service.
pub const ADMIN_QUERIES: &str = "AdminQueries";

/// The number of resources of each service in each category. `None`: a service that is not in [`SERVICES`].
pub type Counts = BTreeMap<(String, Option<&'static str>), usize>;

/// The overview of a backend.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overview {
    /// The auths, by name.
    pub auths: BTreeMap<String, Auth>,
    /// The number of resources.
    pub counts: Counts,
}

/// An auth: user pools of Cognito.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Auth {
    /// Whether its user pool existed before the auth.
    pub is_imported: bool,
    /// Whether it has a domain for a hosted sign-in page (OAuth).
    pub has_hosted_ui: bool,
    /// How users sign in. `None`: the text does not say it.
    pub sign_in: Option<SignIn>,
}

/// How users sign in, in the Amplify CLI's words. `None`: the text does not say it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SignIn {
    /// Such as `GOOGLE`.
    pub social_providers: Option<Vec<String>>,
    /// Such as `EMAIL`.
    pub username_attributes: Option<Vec<String>>,
    /// Such as `EMAIL`: how an address is verified, and where a forgotten password is reset.
    pub verification_mechanisms: Option<Vec<String>>,
    /// `ON`, `OFF` or `OPTIONAL`.
    pub mfa: Option<String>,
    /// Such as `SMS`.
    pub mfa_types: Option<Vec<String>>,
    /// The least length of a password.
    pub password_min_length: Option<u64>,
    /// Such as `REQUIRES_LOWERCASE`.
    pub password_characters: Option<Vec<String>>,
}

impl Overview {
    /// Parses a text that [`super::meta_config::MetaConfig::parse`] takes, or says why the overview is unknown.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let categories: Categories =
            serde_json::from_str(text).map_err(|_| "AWS's AmplifyMetaConfig cannot be read".to_owned())?;
        if categories.0.len() > MAX_CATEGORIES {
            return Err(format!(
                "AWS's AmplifyMetaConfig names more than {MAX_CATEGORIES} categories"
            ));
        }
        let mut overview = Self::default();
        for (category, resources) in categories.0 {
            if category == AUTH {
                if resources.is_unclear {
                    return Err(
                        "AWS's AmplifyMetaConfig does not say what each resource of the category auth is".to_owned(),
                    );
                }
                if resources.auths.len() > MAX_AUTHS {
                    return Err(format!("AWS's AmplifyMetaConfig names more than {MAX_AUTHS} auths"));
                }
                overview.auths = resources.auths;
            }
            for (service, count) in resources.counts {
                overview.counts.insert((category.clone(), service), count);
            }
        }
        Ok(overview)
    }
}

/// The categories, by name; never more than one above [`MAX_CATEGORIES`].
struct Categories(BTreeMap<String, Resources>);

impl<'de> Deserialize<'de> for Categories {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(CategoriesVisitor)
    }
}

struct CategoriesVisitor;

impl<'de> Visitor<'de> for CategoriesVisitor {
    type Value = Categories;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of categories")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Categories, A::Error> {
        let mut categories = BTreeMap::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == PROVIDERS || categories.len() > MAX_CATEGORIES {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let name = truncated(&text::clean(&name), CATEGORY_KEPT).to_owned();
            let resources = map.next_value::<Tolerant<Resources>>()?.0;
            if categories.insert(name, resources).is_some() {
                return Err(A::Error::custom("a category is there twice"));
            }
        }
        Ok(Categories(categories))
    }
}

/// The resources of a category.
#[derive(Default)]
struct Resources {
    counts: BTreeMap<Option<&'static str>, usize>,
    /// Those of Cognito; never more than one above [`MAX_AUTHS`].
    auths: BTreeMap<String, Auth>,
    /// Whether the service of a resource is missing.
    is_unclear: bool,
}

impl Part for Resources {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut resources = Self::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let resource = map.next_value::<Tolerant<Resource>>()?.0;
            resources.is_unclear |= resource.service.is_none();
            let service = resource.service.as_deref().and_then(known);
            if service == Some(COGNITO) && resources.auths.len() <= MAX_AUTHS {
                resources.auths.insert(kept(&name), resource.auth);
            }
            let is_admin = service == Some(API_GATEWAY) && name == ADMIN_QUERIES;
            let service = if is_admin { Some(ADMIN_QUERIES) } else { service };
            *resources.counts.entry(service).or_default() += 1;
        }
        Ok(resources)
    }
}

fn known(service: &str) -> Option<&'static str> {
    SERVICES.into_iter().find(|known| known.eq_ignore_ascii_case(service))
}

#[derive(Default)]
struct Resource {
    service: Option<String>,
    auth: Auth,
}

impl Part for Resource {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut resource = Self::default();
        while let Some(member) = map.next_key::<Cow<'de, str>>()? {
            match member.as_ref() {
                "service" => resource.service = map.next_value::<Tolerant<_>>()?.0,
                "serviceType" => {
                    let kind: Option<String> = map.next_value::<Tolerant<_>>()?.0;
                    resource.auth.is_imported = kind.as_deref() == Some("imported");
                }
                "frontendAuthConfig" => resource.auth.sign_in = map.next_value::<Tolerant<_>>()?.0,
                "output" => resource.auth.has_hosted_ui = map.next_value::<Tolerant<Output>>()?.0.has_domain,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(resource)
    }
}

/// The part of an auth's outputs that is read.
#[derive(Default)]
struct Output {
    has_domain: bool,
}

impl Part for Output {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut output = Self::default();
        while let Some(member) = map.next_key::<Cow<'de, str>>()? {
            if member == "HostedUIDomain" {
                let domain: Option<String> = map.next_value::<Tolerant<_>>()?.0;
                output.has_domain = domain.is_some_and(|domain| !domain.is_empty());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(output)
    }
}

impl Part for Option<SignIn> {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut sign_in = SignIn::default();
        while let Some(member) = map.next_key::<Cow<'de, str>>()? {
            match member.as_ref() {
                "socialProviders" => sign_in.social_providers = map.next_value::<Tolerant<_>>()?.0,
                "usernameAttributes" => sign_in.username_attributes = map.next_value::<Tolerant<_>>()?.0,
                "verificationMechanisms" => sign_in.verification_mechanisms = map.next_value::<Tolerant<_>>()?.0,
                "mfaConfiguration" => sign_in.mfa = map.next_value::<Tolerant<_>>()?.0,
                "mfaTypes" => sign_in.mfa_types = map.next_value::<Tolerant<_>>()?.0,
                "passwordProtectionSettings" => {
                    let policy = map.next_value::<Tolerant<PasswordPolicy>>()?.0;
                    sign_in.password_min_length = policy.min_length;
                    sign_in.password_characters = policy.characters;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(sign_in))
    }
}

#[derive(Default)]
struct PasswordPolicy {
    min_length: Option<u64>,
    characters: Option<Vec<String>>,
}

impl Part for PasswordPolicy {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut policy = Self::default();
        while let Some(member) = map.next_key::<Cow<'de, str>>()? {
            match member.as_ref() {
                "passwordPolicyMinLength" => policy.min_length = map.next_value::<Tolerant<Length>>()?.0.0,
                "passwordPolicyCharacters" => policy.characters = map.next_value::<Tolerant<_>>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(policy)
    }
}

/// A length, which the Amplify CLI writes as a number or as text.
#[derive(Default)]
struct Length(Option<u64>);

impl Part for Length {
    fn of_text(text: &str) -> Self {
        Self(text.trim().parse().ok())
    }

    fn of_number(number: u64) -> Self {
        Self(Some(number))
    }
}

impl Part for Option<Vec<String>> {
    fn of_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut words = Vec::new();
        while let Some(Tolerant(word)) = seq.next_element::<Tolerant<Option<String>>>()? {
            if words.len() < MAX_WORDS {
                words.extend(word);
            }
        }
        Ok(Some(words))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_sign_in_is_read_and_the_secrets_beside_it_are_not() {
        let text = json!({ "auth": { "users": {
            "service": "Cognito", "serviceType": "imported", "customAuth": false,
            "frontendAuthConfig": {
                "socialProviders": ["GOOGLE", 7], "usernameAttributes": ["EMAIL"], "signupAttributes": ["EMAIL"],
                "passwordProtectionSettings": { "passwordPolicyMinLength": 8, "passwordPolicyCharacters": [] },
                "mfaConfiguration": "OPTIONAL", "mfaTypes": ["SMS"], "verificationMechanisms": ["EMAIL"],
            },
            "output": { "HostedUIDomain": "shop-dev", "AppClientSecret": "hidden" },
        }, "userPoolGroups": { "service": "Cognito-UserPool-Groups" } } });
        let overview = Overview::parse(&text.to_string()).unwrap();
        let sign_in = SignIn {
            social_providers: Some(words(&["GOOGLE"])),
            username_attributes: Some(words(&["EMAIL"])),
            verification_mechanisms: Some(words(&["EMAIL"])),
            mfa: Some("OPTIONAL".to_owned()),
            mfa_types: Some(words(&["SMS"])),
            password_min_length: Some(8),
            password_characters: Some(words(&[])),
        };
        let users = Auth {
            is_imported: true,
            has_hosted_ui: true,
            sign_in: Some(sign_in),
        };
        assert_eq!(overview.auths, BTreeMap::from([("users".to_owned(), users)]));
        assert_eq!(overview.counts.values().sum::<usize>(), 2);
        assert!(!format!("{overview:?}").contains("hidden"));
    }

    #[test]
    fn a_sign_in_of_an_odd_form_is_unknown_and_not_absent() {
        for (odd, sign_in) in [
            ("null", None),
            ("[]", None),
            ("7", None),
            ("{}", Some(SignIn::default())),
            (
                r#"{"socialProviders": {}, "mfaConfiguration": [], "passwordProtectionSettings": "x"}"#,
                Some(SignIn::default()),
            ),
        ] {
            let text = format!(r#"{{"auth": {{"users": {{"service": "cognito", "frontendAuthConfig": {odd}}}}}}}"#);
            let overview = Overview::parse(&text).unwrap();
            assert_eq!(overview.auths["users"].sign_in, sign_in, "{odd}");
        }
        let long = r#"{"auth": {"users": {"service": "Cognito", "frontendAuthConfig":
            {"passwordProtectionSettings": {"passwordPolicyMinLength": "12"}}}}}"#;
        let sign_in = Overview::parse(long).unwrap().auths["users"].sign_in.clone().unwrap();
        assert_eq!(sign_in.password_min_length, Some(12));
    }

    #[test]
    fn resources_are_counted_by_category_and_by_services_that_are_known() {
        let text = r#"{"providers": {"awscloudformation": {}}, "auth": {}, "odd": 7, "none": null,
            "function": {"a": {"service": "Lambda"}, "b": {"service": "Lambda"}, "c": {"service": "secret-word"}, "d": 1}}"#;
        let counts = Overview::parse(text).unwrap().counts;
        let of = |service| counts.get(&("function".to_owned(), service)).copied();
        assert_eq!((of(Some("Lambda")), of(None), counts.len()), (Some(2), Some(2), 2));
    }

    #[test]
    fn a_text_that_says_too_much_or_too_little_leaves_the_overview_unknown() {
        let many = |category: &str, service: &str, count: usize| {
            let each = (0..count).map(|n| format!(r#""n{n}": {{"service": "{service}"}}"#));
            format!(r#"{{"{category}": {{{}}}}}"#, each.collect::<Vec<_>>().join(","))
        };
        let categories: Vec<_> = (0..=MAX_CATEGORIES).map(|n| format!(r#""c{n}": {{}}"#)).collect();
        for (text, why) in [
            ("[]".to_owned(), "cannot be read"),
            (r#"{"auth": {"users": {}}}"#.to_owned(), "category auth"),
            (many("auth", "Cognito", MAX_AUTHS + 1), "more than 10 auths"),
            (format!("{{{}}}", categories.join(",")), "more than 50 categories"),
        ] {
            assert!(Overview::parse(&text).unwrap_err().contains(why), "{why}");
        }
        assert!(Overview::parse(&many("function", "Lambda", 5000)).is_ok());
    }
}
