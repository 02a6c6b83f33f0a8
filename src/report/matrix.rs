//! AWS's Gen 2 feature matrix: what `amplify gen2-migration` does with each feature of Gen 1. One table of data. Pure.
//!
//! May not: judge what the matrix does not list. Such a feature is `Unclear`. When AWS changes the matrix, change the
//! rows and [`DATE`].

use jiff::civil::Date;
use serde::Serialize;

use crate::kinds::overview::ADMIN_QUERIES;

/// The date of the matrix: its last change in aws-amplify/docs when the rows were taken from it.
pub(super) const DATE: Date = Date::constant(2026, 5, 14);
/// The page with the matrix.
pub(super) const SOURCE: &str = "https://docs.amplify.aws/react/start/migrate-to-gen2/feature-matrix/";
/// The day on which AWS ends Amplify Gen 1.
pub(super) const END_OF_LIFE: Date = Date::constant(2027, 5, 1);

/// Returns the days from this day to the end of Amplify Gen 1. Negative afterwards.
pub(super) fn days_left(today: Date) -> i32 {
    today.until(END_OF_LIFE).map_or(0, |span| span.get_days())
}

/// What the matrix says of a feature. The worst comes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// Neither the tool nor Gen 2 has it: remove or replace it before the migration.
    NotSupported,
    /// Gen 2 has it, but the tool does not take it, or does not move its data.
    ByHand,
    /// The matrix has more than one answer, or none, and the report cannot see which applies.
    Unclear,
    /// The tool takes it.
    Taken,
}

impl Verdict {
    /// Every verdict, the worst first.
    pub(super) const ALL: [Self; 4] = [Self::NotSupported, Self::ByHand, Self::Unclear, Self::Taken];

    /// Returns the verdict in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::NotSupported => "not supported",
            Self::ByHand => "by hand",
            Self::Unclear => "unclear",
            Self::Taken => "taken",
        }
    }
}

/// A row of the matrix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Row {
    /// The feature, in AWS's words where the matrix has a word.
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    /// What to do, in one sentence. Without `@` and `<`, which have a meaning in an issue.
    pub(super) to_do: &'static str,
}

macro_rules! matrix {
    ($($feature:ident = $name:literal, $verdict:ident, $to_do:literal;)+) => {
        /// The features that the report can see.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub(super) enum Feature {
            $($feature,)+
        }

        impl Feature {
            /// Every feature.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$feature),+];

            /// Returns the feature's row.
            pub(super) const fn row(self) -> Row {
                match self {
                    $(Self::$feature => Row { name: $name, verdict: Verdict::$verdict, to_do: $to_do },)+
                }
            }
        }
    };
}

matrix! {
    // API and Data.
    GraphqlApi = "GraphQL API", Taken, "The tool keeps the schema as text and moves the tables of its models.";
    ApiKey = "GraphQL: API key authorization", Taken, "The tool generates it.";
    UserPools = "GraphQL: Cognito user pool authorization", Taken, "The tool generates it.";
    Iam = "GraphQL: IAM authorization", Taken, "Before the refactor, name amplify- with the app id in custom-roles.json: otherwise the Gen 1 API refuses IAM afterwards.";
    OpenIdConnect = "GraphQL: OpenID Connect authorization", ByHand, "Add this authorization mode to the Gen 2 code yourself.";
    OtherMode = "GraphQL: authorization mode that AWS does not show, or that this version does not know", Unclear, "Look the mode up: the tool does not take Lambda authorization, which you then add to the Gen 2 code yourself.";
    ConflictResolution = "GraphQL: conflict resolution (DataStore)", NotSupported, "Disable it before you lock the environment: Gen 2 has no DataStore.";
    OtherResolution = "GraphQL: conflict resolution of an unknown strategy", Unclear, "Look it up, and disable conflict resolution before you lock the environment.";
    ManyToMany = "GraphQL: directive manyToMany", NotSupported, "Replace it with a model that joins the two: Gen 2 has no manyToMany.";
    Searchable = "GraphQL: directive searchable", NotSupported, "Replace it: Gen 2 has no searchable, and its OpenSearch index must be built again.";
    Predictions = "GraphQL: directive predictions", NotSupported, "Replace it with an integration of your own: Gen 2 has no predictions.";
    SchemaNotShown = "GraphQL: schema that AWS does not show", Unclear, "Search it for the directives manyToMany, searchable and predictions, which are not supported.";
    RestApi = "REST API", Taken, "The tool generates it.";
    AdminQueries = "admin queries (REST API AdminQueries)", ByHand, "Write the API and its function in the Gen 2 code yourself.";

    // Auth.
    Auth = "Cognito user pool", Taken, "The tool moves the user pool with its users.";
    ImportedAuth = "imported auth", Taken, "The tool refers to the same user pool: do not share it with an environment that only rehearses.";
    UsernameAttributes = "sign-in with user name, email or phone number", Taken, "The tool generates it.";
    SocialProvider = "social provider", Taken, "Add the redirect of the new Cognito domain in the provider's console.";
    OtherProvider = "identity provider that the matrix does not list", Unclear, "Look it up: the matrix lists Facebook, Google, Amazon and Apple.";
    HostedUi = "OAuth flow, scopes, redirect URIs and domain prefix", ByHand, "Set them in the Gen 2 code and compare them with the Gen 1 user pool client.";
    Mfa = "MFA", Taken, "The tool generates it.";
    PasswordPolicy = "password policy", Taken, "The tool generates it.";
    EmailVerification = "verification by email", Unclear, "Check it after generate: the tool takes the verification code, but not the forgotten password by email.";
    SignInNotShown = "sign-in that AWS does not show", Unclear, "Compare the user pool's settings with the generated code.";
    Groups = "user pool groups", Taken, "The tool generates them.";

    // Storage.
    Storage = "S3 bucket", Taken, "The tool moves the bucket with its content.";
    StorageAccess = "S3 access of users and guests", Taken, "The tool generates it.";
    ImportedStorage = "imported S3 bucket", ByHand, "Name the bucket in the Gen 2 code yourself; it stays where it is.";
    StorageNotShown = "S3 storage that AWS does not show", Unclear, "Look up whether its bucket is imported: the tool does not take an imported bucket.";
    Table = "DynamoDB table (NoSQL storage)", Taken, "The tool moves the table with its content.";

    // Functions and other categories.
    Function = "Lambda function", Unclear, "The tool takes Node.js; other runtimes, layers, secrets and custom IAM policies are by hand.";
    Layer = "Lambda layer", ByHand, "Define the layer in the Gen 2 code yourself.";
    Kinesis = "analytics (Kinesis)", Taken, "The tool generates it.";
    Pinpoint = "analytics (Pinpoint)", ByHand, "Define it with CDK in the Gen 2 code yourself.";
    Map = "geo (map)", Taken, "The tool generates it.";
    PlaceIndex = "geo (place index)", Taken, "The tool generates it.";
    GeofenceCollection = "geo (geofence collection)", ByHand, "The tool generates the code, and you move the geofences.";
    PredictionsCategory = "predictions", ByHand, "Define it with CDK in the Gen 2 code yourself.";
    Interactions = "interactions", ByHand, "Define it with CDK in the Gen 2 code yourself.";
    CustomCdk = "custom resource (CDK)", Taken, "The tool takes it: check the generated code.";
    CustomCloudFormation = "custom resource (CloudFormation)", ByHand, "Include the template with CfnInclude in the Gen 2 code yourself.";
    AmplifyHosting = "Amplify Hosting", Unclear, "Gen 2 deploys from Git or with ampx: an app that is deployed by hand needs a new app.";
    CloudFrontHosting = "hosting on CloudFront and S3", NotSupported, "Gen 2 does not deploy it: keep it outside of Amplify.";
    NotListed = "not in the matrix", Unclear, "See what assess says of it.";
}

/// Returns the feature of a social provider, in the Amplify CLI's words.
pub(super) fn provider(name: &str) -> Feature {
    match name.to_ascii_uppercase().as_str() {
        "FACEBOOK" | "GOOGLE" | "AMAZON" | "LOGINWITHAMAZON" | "APPLE" | "SIGNINWITHAPPLE" => Feature::SocialProvider,
        _ => Feature::OtherProvider,
    }
}

/// Returns the feature of the resources of this category and service. `None`: the report shows them one by one.
pub(super) fn category(name: &str, service: Option<&str>) -> Option<Feature> {
    Some(match (name, service) {
        ("api", Some("AppSync")) | ("auth", Some("Cognito")) | ("storage", Some("S3")) => return None,
        ("api", Some("API Gateway")) => Feature::RestApi,
        ("api", Some(ADMIN_QUERIES)) => Feature::AdminQueries,
        ("auth", Some("Cognito-UserPool-Groups")) => Feature::Groups,
        ("storage", Some("DynamoDB")) => Feature::Table,
        ("function", Some("Lambda")) => Feature::Function,
        ("function", Some("LambdaLayer")) => Feature::Layer,
        ("analytics", Some("Kinesis")) => Feature::Kinesis,
        ("analytics", Some("Pinpoint")) => Feature::Pinpoint,
        ("geo", Some("Map")) => Feature::Map,
        ("geo", Some("PlaceIndex")) => Feature::PlaceIndex,
        ("geo", Some("GeofenceCollection")) => Feature::GeofenceCollection,
        ("predictions", _) => Feature::PredictionsCategory,
        ("interactions", _) => Feature::Interactions,
        ("custom", Some("customCDK")) => Feature::CustomCdk,
        ("custom", Some("customCloudformation")) => Feature::CustomCloudFormation,
        ("hosting", Some("amplifyhosting")) => Feature::AmplifyHosting,
        ("hosting", Some("S3AndCloudFront")) => Feature::CloudFrontHosting,
        (_, _) => Feature::NotListed,
    })
}

/// Returns the directives in a schema that the matrix does not support.
pub(super) fn directives(schema: &str) -> Vec<Feature> {
    let mut found = [
        ("manyToMany", Feature::ManyToMany, false),
        ("searchable", Feature::Searchable, false),
        ("predictions", Feature::Predictions, false),
    ];
    let mut rest = schema;
    while let Some(at) = rest.find(['#', '"', '@']) {
        let token = &rest[at..];
        rest = if token.starts_with('#') {
            token.find(['\n', '\r']).map_or("", |end| &token[end..])
        } else if let Some(text) = token.strip_prefix("\"\"\"") {
            // In a description of several lines, only these three marks are escaped.
            let escaped = text.replace("\\\"\"\"", "    ");
            escaped
                .find("\"\"\"")
                .and_then(|end| text.get(end + 3..))
                .unwrap_or_default()
        } else if let Some(text) = token.strip_prefix('"') {
            after_string(text)
        } else {
            let name = token[1..].trim_start_matches([' ', '\t', '\n', '\r', ',']);
            let end = name
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(name.len());
            for (directive, _, is_there) in &mut found {
                *is_there |= *directive == &name[..end];
            }
            &name[end..]
        };
    }
    let named = found.into_iter().filter(|(_, _, is_there)| *is_there);
    named.map(|(_, feature, _)| feature).collect()
}

/// Returns what follows the end of a string of one line, whose opening mark is already read.
fn after_string(text: &str) -> &str {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '"' => return &text[at + 1..],
            '\n' | '\r' => return &text[at..],
            _ => {}
        }
    }
    ""
}
