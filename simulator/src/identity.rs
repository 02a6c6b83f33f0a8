//! The identities of callers: keys, and the sessions that `AssumeRole` issues. No I/O.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::{Key, Role},
    ids::Ids,
    wire::reply::AwsError,
};

/// The principal of a verified request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) account: Arc<str>,
    pub(crate) access_key_id: Arc<str>,
    pub(crate) role: Option<AssumedRole>,
}

/// The part of a caller that only sessions have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssumedRole {
    pub(crate) name: Arc<str>,
    pub(crate) session_name: Arc<str>,
}

impl Caller {
    /// Returns the ARN in the answer of `GetCallerIdentity`.
    pub(crate) fn arn(&self) -> String {
        match &self.role {
            None => format!("arn:aws:iam::{}:user/simulated", self.account),
            Some(role) => assumed_role_arn(&self.account, role),
        }
    }
}

/// Returns the ARN of a session.
pub(crate) fn assumed_role_arn(account: &str, role: &AssumedRole) -> String {
    // A role's path is not part of its sessions' ARNs.
    let name = role.name.rsplit('/').next().unwrap_or_default();
    format!("arn:aws:sts::{account}:assumed-role/{name}/{}", role.session_name)
}

/// A key or session, in the form that the signature check needs.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) caller: Caller,
    pub(crate) secret: String,
    token: Option<String>,
    /// The expiry in milliseconds of the wall clock, because a client uses the wall clock too.
    expires: Option<i64>,
}

impl Credentials {
    /// Checks the session token and the expiry.
    pub(crate) fn check(&self, token: Option<&str>, wall: i64) -> Result<(), AwsError> {
        if self.token.as_deref() != token {
            return Err(unrecognised());
        }
        match self.expires {
            Some(expires) if wall >= expires => Err(AwsError::expired_token()),
            _ => Ok(()),
        }
    }
}

/// The credentials that `AssumeRole` issues.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
    pub(crate) expires: i64,
    pub(crate) account: Arc<str>,
    pub(crate) role: AssumedRole,
}

/// All keys, sessions and roles.
#[derive(Debug)]
pub(crate) struct Identities {
    credentials: HashMap<String, Credentials>,
    roles: HashMap<String, Role>,
    unlisted_roles: bool,
}

impl Identities {
    pub(crate) fn new(keys: &[Key], roles: &[Role], unlisted_roles: bool) -> Self {
        let mut identities = Self {
            credentials: HashMap::new(),
            roles: roles.iter().map(|role| (role.arn.clone(), role.clone())).collect(),
            unlisted_roles,
        };
        for key in keys {
            identities.add_key(key);
        }
        identities
    }

    pub(crate) fn add_key(&mut self, key: &Key) {
        let caller = Caller {
            account: key.account.as_str().into(),
            access_key_id: key.access_key_id.as_str().into(),
            role: None,
        };
        self.credentials.insert(
            key.access_key_id.clone(),
            Credentials {
                caller,
                secret: key.secret_access_key.clone(),
                token: key.session_token.clone(),
                expires: None,
            },
        );
    }

    pub(crate) fn remove_key(&mut self, access_key_id: &str) -> bool {
        self.credentials.remove(access_key_id).is_some()
    }

    pub(crate) fn put_role(&mut self, role: Role) {
        self.roles.insert(role.arn.clone(), role);
    }

    pub(crate) fn find(&self, access_key_id: &str) -> Result<&Credentials, AwsError> {
        self.credentials.get(access_key_id).ok_or_else(unrecognised)
    }

    /// Ends every session that was issued so far.
    pub(crate) fn expire_sessions(&mut self) {
        for credentials in self.credentials.values_mut() {
            if credentials.expires.is_some() {
                credentials.expires = Some(0);
            }
        }
    }

    /// Issues a session of a role.
    pub(crate) fn assume(
        &mut self,
        caller: &Caller,
        role_arn: &str,
        session_name: &str,
        external_id: Option<&str>,
        expires: i64,
        ids: &mut Ids,
    ) -> Result<Issued, AwsError> {
        let Some((account, name)) = parse_role(role_arn) else {
            return Err(AwsError::new(400, "ValidationError", format!("{role_arn} is invalid")));
        };
        let allowed = match self.roles.get(role_arn) {
            Some(role) => role.external_id.is_none() || role.external_id.as_deref() == external_id,
            None => self.unlisted_roles,
        };
        if !allowed {
            return Err(AwsError::new(
                403,
                "AccessDenied",
                format!(
                    "User: {} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
                    caller.arn()
                ),
            ));
        }
        let issued = Issued {
            access_key_id: ids.key("ASIA", 16),
            secret_access_key: ids.key("", 40),
            session_token: ids.key("IQoJ", 120),
            expires,
            account: account.into(),
            role: AssumedRole {
                name: name.into(),
                session_name: session_name.into(),
            },
        };
        self.credentials.insert(
            issued.access_key_id.clone(),
            Credentials {
                caller: Caller {
                    account: issued.account.clone(),
                    access_key_id: issued.access_key_id.as_str().into(),
                    role: Some(issued.role.clone()),
                },
                secret: issued.secret_access_key.clone(),
                token: Some(issued.session_token.clone()),
                expires: Some(expires),
            },
        );
        Ok(issued)
    }
}

/// Returns account and name from `arn:aws:iam::<account>:role/<name>`.
fn parse_role(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let (Some("arn"), Some(_partition), Some("iam"), Some(""), Some(account), Some(resource)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return None;
    };
    let name = resource.strip_prefix("role/").filter(|name| !name.is_empty())?;
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some((account, name))
}

fn unrecognised() -> AwsError {
    AwsError::new(
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identities(roles: &[Role]) -> (Identities, Caller) {
        let key = Key {
            access_key_id: "AKIA".into(),
            secret_access_key: "secret".into(),
            session_token: None,
            account: "111111111111".into(),
        };
        let identities = Identities::new(&[key], roles, roles.is_empty());
        let caller = identities.find("AKIA").unwrap().caller.clone();
        (identities, caller)
    }

    #[test]
    fn a_session_belongs_to_the_roles_account_and_needs_its_token() {
        let (mut identities, caller) = identities(&[]);
        let issued = identities
            .assume(
                &caller,
                "arn:aws:iam::222222222222:role/path/x",
                "s",
                None,
                1000,
                &mut Ids::new(1),
            )
            .unwrap();
        let session = identities.find(&issued.access_key_id).unwrap();
        assert_eq!(session.caller.arn(), "arn:aws:sts::222222222222:assumed-role/x/s");
        assert_eq!(session.check(Some(&issued.session_token), 999), Ok(()));
        assert_eq!(
            session.check(Some(&issued.session_token), 1000).unwrap_err().code,
            "ExpiredTokenException"
        );
        assert_eq!(session.check(None, 0).unwrap_err().code, "UnrecognizedClientException");
    }

    #[test]
    fn a_role_with_an_external_id_is_refused_without_it() {
        let arn = "arn:aws:iam::222222222222:role/x";
        let (mut identities, caller) = identities(&[Role {
            arn: arn.into(),
            external_id: Some("e".into()),
        }]);
        for (role, external_id, code) in [
            (arn, Some("e"), None),
            (arn, Some("f"), Some("AccessDenied")),
            (arn, None, Some("AccessDenied")),
            ("arn:aws:iam::222222222222:role/unlisted", None, Some("AccessDenied")),
            ("arn:aws:iam::22:role/x", None, Some("ValidationError")),
            ("arn:aws:iam::222222222222:user/x", None, Some("ValidationError")),
        ] {
            let outcome = identities.assume(&caller, role, "s", external_id, 0, &mut Ids::new(1));
            assert_eq!(outcome.err().map(|error| error.code), code.map(str::to_owned), "{role}");
        }
    }
}
