//! The operations of AWS: one table of those that write, with what is known of each, and one of those that read. Pure.
//!
//! The enums, their values in the definitions, the IAM policies, and what the decisions may know of a kind come from them.

use std::{collections::BTreeSet, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::KindName;

/// An AWS service, by the name that its IAM actions start with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// `amplify`
    Amplify,
    /// `amplifybackend`
    AmplifyBackend,
    /// `sts`
    Sts,
}

impl Service {
    /// As it stands in actions, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amplify => "amplify",
            Self::AmplifyBackend => "amplifybackend",
            Self::Sts => "sts",
        }
    }
}

/// How the AWS object came to belong to this resource.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum Origin {
    /// This resource created it.
    Created,
    /// This resource created it as a clone of another backend.
    Cloned,
    /// It existed before, and this resource took it over (`adoptionPolicy: IfExists`).
    Adopted,
}

/// What a write does to the AWS object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// It makes one, and whoever sent it owns it by this origin.
    Create(Origin),
    /// It changes one.
    Update,
    /// It removes one.
    Delete,
}

/// What is known of an operation.
struct Row {
    service: Service,
    name: &'static str,
    kind: KindName,
    verb: Verb,
    lists: u32,
}

macro_rules! operations {
    ($($kind:ident in $service:ident $(, $alone:ident)? {
        $(create $create:ident = $create_name:literal, $origin:ident, $create_lists:literal;)+
        $(update $update:ident = $update_name:literal, $update_lists:literal;)?
        delete $delete:ident = $delete_name:literal, $delete_lists:literal;
    })+) => {
        operations! { @rows $(
            $($create $service $create_name $kind (Verb::Create(Origin::$origin)) $create_lists,)+
            $($update $service $update_name $kind (Verb::Update) $update_lists,)?
            $delete $service $delete_name $kind (Verb::Delete) $delete_lists,
        )+ }

        impl Operation {
            /// The operation that changes objects of the same kind, where there is one.
            #[must_use]
            pub const fn update(self) -> Option<Self> {
                match self.kind() {
                    $(KindName::$kind => first(&[$(Self::$update)?]),)+
                }
            }

            /// Whether an environment has one object of the same kind, whatever it is called.
            #[must_use]
            pub const fn is_alone(self) -> bool {
                match self.kind() {
                    $(KindName::$kind => is_any(&[$(stringify!($alone))?]),)+
                }
            }

            /// The operation that removes objects of the same kind.
            #[must_use]
            pub const fn delete(self) -> Self {
                match self.kind() {
                    $(KindName::$kind => Self::$delete,)+
                }
            }
        }
    };
    (@rows $($operation:ident $service:ident $name:literal $kind:ident ($verb:expr) $lists:literal,)+) => {
        /// The AWS operations that write, under AWS's own names.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
        pub enum Operation {
            $(
                #[doc = concat!("`", $name, "`")]
                #[serde(rename = $name)]
                $operation,
            )+
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$operation),+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$operation => Row {
                        service: Service::$service,
                        name: $name,
                        kind: KindName::$kind,
                        verb: $verb,
                        lists: $lists,
                    },)+
                }
            }
        }
    };
}

// `alone`: an environment has one of the kind. Each operation with AWS's name, by which origin what it makes is owned, and in how
// many lists of jobs it shows what became of it: none where AWS answers with the result, two where its job may be listed under
// either of two environments.
operations! {
    AmplifyBackend in AmplifyBackend {
        create CreateBackend = "CreateBackend", Created, 1;
        create CloneBackend = "CloneBackend", Cloned, 2;
        delete DeleteBackend = "DeleteBackend", 1;
    }
    BackendApi in AmplifyBackend, alone {
        create CreateBackendApi = "CreateBackendAPI", Created, 1;
        update UpdateBackendApi = "UpdateBackendAPI", 1;
        delete DeleteBackendApi = "DeleteBackendAPI", 1;
    }
    BackendStorage in AmplifyBackend, alone {
        create CreateBackendStorage = "CreateBackendStorage", Created, 1;
        create ImportBackendStorage = "ImportBackendStorage", Created, 1;
        update UpdateBackendStorage = "UpdateBackendStorage", 1;
        delete DeleteBackendStorage = "DeleteBackendStorage", 1;
    }
    BackendEnvironment in Amplify {
        create CreateBackendEnvironment = "CreateBackendEnvironment", Created, 0;
        delete DeleteBackendEnvironment = "DeleteBackendEnvironment", 0;
    }
}

const fn is_any(all: &[&str]) -> bool {
    !all.is_empty()
}

const fn first(all: &[Operation]) -> Option<Operation> {
    match all {
        [first, ..] => Some(*first),
        [] => None,
    }
}

impl Operation {
    /// AWS's name of the operation, as it stands in jobs, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The service that it belongs to.
    #[must_use]
    pub const fn service(self) -> Service {
        self.row().service
    }

    /// The IAM action that allows it.
    #[must_use]
    pub fn action(self) -> String {
        format!("{}:{}", self.service().name(), self.name())
    }

    /// The kind whose AWS objects it is about.
    #[must_use]
    pub const fn kind(self) -> KindName {
        self.row().kind
    }

    /// What it does to the AWS object.
    #[must_use]
    pub const fn verb(self) -> Verb {
        self.row().verb
    }

    /// Whether the operation makes a new AWS object.
    #[must_use]
    pub const fn is_create(self) -> bool {
        matches!(self.verb(), Verb::Create(_))
    }

    /// Whether the operation changes an AWS object.
    #[must_use]
    pub const fn is_update(self) -> bool {
        matches!(self.verb(), Verb::Update)
    }

    /// Whether the operation removes an AWS object.
    #[must_use]
    pub const fn is_delete(self) -> bool {
        matches!(self.verb(), Verb::Delete)
    }

    /// Whether AWS answers with a job that goes on after the reply.
    #[must_use]
    pub const fn has_job(self) -> bool {
        self.row().lists > 0
    }

    /// Whether its job may be listed under either of two environments, and name either.
    #[must_use]
    pub const fn is_of_two_environments(self) -> bool {
        self.row().lists > 1
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What AWS can do with an object, as far as decisions may know of its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Abilities {
    /// Makes it.
    pub create: Operation,
    /// What is made belongs to the resource by this.
    pub origin: Origin,
    /// Changes it; none: it is as it was made.
    pub update: Option<Operation>,
    /// Removes it.
    pub delete: Operation,
    /// How many lists of jobs show what became of its create; none where it has no job.
    pub lists: u32,
    /// Whether an environment has one of its kind, whatever it is called: what is not there under its name may be there under
    /// another, which a further call shows.
    pub is_alone: bool,
}

impl Abilities {
    /// Those of an object that this operation makes.
    #[must_use]
    pub const fn of(create: Operation) -> Self {
        Self {
            create,
            origin: match create.verb() {
                Verb::Create(origin) => origin,
                Verb::Update | Verb::Delete => Origin::Created,
            },
            update: create.update(),
            delete: create.delete(),
            lists: create.row().lists,
            is_alone: create.is_alone(),
        }
    }

    /// Whether its create is a job that goes on after the reply.
    #[must_use]
    pub const fn has_job(&self) -> bool {
        self.lists > 0
    }
}

macro_rules! reads {
    ($($read:ident in $service:ident = $name:literal, $by:ident;)+) => {
        /// The AWS operations that read, under AWS's own names.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Read {
            $(
                #[doc = concat!("`", $name, "`")]
                $read,
            )+
        }

        impl Read {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$read),+];

            /// AWS's name of the operation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$read => $name,)+
                }
            }

            /// The service that it belongs to.
            #[must_use]
            pub const fn service(self) -> Service {
                match self {
                    $(Self::$read => Service::$service,)+
                }
            }

            const fn by(self) -> By {
                match self {
                    $(Self::$read => By::$by,)+
                }
            }
        }
    };
}

/// Who makes a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Operator,
    Import,
    Both,
}

reads! {
    GetBackend in AmplifyBackend = "GetBackend", Both;
    GetBackendApi in AmplifyBackend = "GetBackendAPI", Both;
    GetBackendStorage in AmplifyBackend = "GetBackendStorage", Both;
    GetBackendJob in AmplifyBackend = "GetBackendJob", Operator;
    ListBackendJobs in AmplifyBackend = "ListBackendJobs", Operator;
    GetBackendEnvironment in Amplify = "GetBackendEnvironment", Operator;
    ListBackendEnvironments in Amplify = "ListBackendEnvironments", Both;
    GetApp in Amplify = "GetApp", Import;
    ListApps in Amplify = "ListApps", Import;
}

/// The IAM actions that the operator needs, sorted.
#[must_use]
pub fn actions_of_the_operator() -> BTreeSet<String> {
    let writes = Operation::ALL.iter().map(|operation| operation.action());
    writes.chain(actions(By::Import)).collect()
}

/// The IAM actions that an import needs, sorted.
#[must_use]
pub fn actions_of_the_import() -> BTreeSet<String> {
    actions(By::Operator).collect()
}

/// The actions of the reads but for those that only this one makes.
fn actions(but: By) -> impl Iterator<Item = String> {
    let reads = Read::ALL.iter().filter(move |read| read.by() != but);
    reads.map(|read| format!("{}:{}", read.service().name(), read.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_known_by_one_name_and_has_the_abilities_of_its_kind() {
        let actions: BTreeSet<_> = Operation::ALL.iter().map(|operation| operation.action()).collect();
        assert_eq!(actions.len(), Operation::ALL.len());
        for operation in Operation::ALL.iter().copied() {
            assert_eq!(serde_json::json!(operation), operation.name());
            let abilities = Abilities::of(operation);
            let of_kind = |other: Operation| other.kind() == operation.kind();
            assert!(of_kind(abilities.delete) && abilities.delete.is_delete(), "{operation}");
            assert!(
                abilities
                    .update
                    .is_none_or(|update| of_kind(update) && update.is_update()),
                "{operation}"
            );
            assert_eq!(abilities.has_job(), operation.has_job(), "{operation}");
        }
    }
}
