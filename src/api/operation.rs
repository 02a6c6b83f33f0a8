//! The operations of AWS: one table of the operations that write, with their properties, and one of those that read.
//! Pure.
//!
//! The enums, their values in the definitions, the IAM policies, and the kinds' properties for decisions come from
//! them.

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
    /// Returns the service's name as in actions, logs and metrics.
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

/// The effect of a write on the AWS object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// It makes an object. The sender owns the object by this origin.
    Create(Origin),
    /// It changes an object.
    Update,
    /// It removes an object.
    Delete,
}

/// The properties of an operation.
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
            /// Returns the operation that changes objects of the same kind, if there is one.
            #[must_use]
            pub const fn update(self) -> Option<Self> {
                match self.kind() {
                    $(KindName::$kind => first(&[$(Self::$update)?]),)+
                }
            }

            /// Whether an environment has at most one object of the same kind, under any name.
            #[must_use]
            pub const fn is_alone(self) -> bool {
                match self.kind() {
                    $(KindName::$kind => is_any(&[$(stringify!($alone))?]),)+
                }
            }

            /// Returns the operation that removes objects of the same kind.
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

// `alone`: an environment has at most one object of the kind. Each operation has AWS's name, the origin of the object
// that it makes, and the number of job lists that can show its outcome. None: AWS answers with the result. Two: its job
// may be listed under either of two environments.
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
    /// Returns AWS's name of the operation, as in jobs, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the operation's service.
    #[must_use]
    pub const fn service(self) -> Service {
        self.row().service
    }

    /// Returns the IAM action that allows the operation.
    #[must_use]
    pub fn action(self) -> String {
        format!("{}:{}", self.service().name(), self.name())
    }

    /// Returns the kind of the operation's AWS objects.
    #[must_use]
    pub const fn kind(self) -> KindName {
        self.row().kind
    }

    /// Returns the effect on the AWS object.
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

    /// Whether AWS answers with a job that continues after the reply.
    #[must_use]
    pub const fn has_job(self) -> bool {
        self.row().lists > 0
    }

    /// Whether the operation's job may be listed under either of two environments, and may name either.
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

/// The operations that AWS has for an object, and the other properties of its kind that decisions need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Abilities {
    /// Makes the object.
    pub create: Operation,
    /// The origin of the object that is made.
    pub origin: Origin,
    /// Changes the object. None: AWS cannot change it.
    pub update: Option<Operation>,
    /// Removes the object.
    pub delete: Operation,
    /// How many lists of jobs show the outcome of the create. None if it has no job.
    pub lists: u32,
    /// Whether an environment has at most one object of the kind, under any name. If the object is not there under its
    /// name, it may be there under another name. One more call shows that.
    pub is_alone: bool,
}

impl Abilities {
    /// Returns the abilities for an object that this operation makes.
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

    /// Whether the create is a job that continues after the reply.
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
            /// Every read operation.
            pub const ALL: &[Self] = &[$(Self::$read),+];

            /// Returns AWS's name of the operation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$read => $name,)+
                }
            }

            /// Returns the operation's service.
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

/// The part of the program that makes a call. `Import` is also `report`: one policy serves both.
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
    ListBackendJobs in AmplifyBackend = "ListBackendJobs", Both;
    GetBackendEnvironment in Amplify = "GetBackendEnvironment", Operator;
    ListBackendEnvironments in Amplify = "ListBackendEnvironments", Both;
    GetApp in Amplify = "GetApp", Both;
    ListApps in Amplify = "ListApps", Both;
}

/// Returns the IAM actions that the operator needs, sorted.
#[must_use]
pub fn actions_of_the_operator() -> BTreeSet<String> {
    let writes = Operation::ALL.iter().map(|operation| operation.action());
    writes.chain(actions(By::Import)).collect()
}

/// Returns the IAM actions that an import or a report needs, sorted.
#[must_use]
pub fn actions_of_the_import() -> BTreeSet<String> {
    actions(By::Operator).collect()
}

/// Returns the actions of all reads, except the reads that only `but` makes.
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
