//! Why an identity pool of Cognito gives a guest no credentials, and what to do.
//!
//! It sends nothing.

use serde::Deserialize;

use crate::web_request::{WebError, WebResponse};

/// Longest message of the service that is shown.
const MAX_MESSAGE: usize = 300;

/// A call of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CognitoCall {
    /// `GetId`: a new identity.
    GetId,
    /// `GetCredentialsForIdentity`: its credentials.
    GetCredentials,
}

/// Why there are no credentials of a guest.
#[derive(Debug, thiserror::Error)]
pub enum CognitoError {
    /// There is no response.
    #[error("{call} at {endpoint} failed: {source}")]
    Unreachable {
        /// The call.
        call: CognitoCall,
        /// The service.
        endpoint: String,
        /// The cause.
        source: WebError,
    },
    /// The service refuses the call.
    #[error("{call} is refused with status {status}: {refusal}{message}")]
    Refused {
        /// The call.
        call: CognitoCall,
        /// The status of the response.
        status: u16,
        /// The kind of refusal.
        refusal: CognitoRefusal,
        /// What the service says, after a separator.
        message: String,
    },
    /// The response is not what the service documents.
    #[error("the response to {call} is unreadable: {why}")]
    Unreadable {
        /// The call.
        call: CognitoCall,
        /// The cause.
        why: String,
    },
    /// The credentials of the response have ended already.
    #[error("{call} gives credentials that ended at {ended}")]
    Ended {
        /// The call.
        call: CognitoCall,
        /// Their end.
        ended: String,
    },
    /// The kept identity cannot be read.
    #[error("the kept identity of the link cannot be read: {0}")]
    Identity(String),
}

/// The kinds of refusal that the service documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CognitoRefusal {
    /// `NotAuthorizedException`.
    NotAuthorized,
    /// `ResourceNotFoundException`.
    NotFound,
    /// `InvalidIdentityPoolConfigurationException`.
    PoolWithoutRole,
    /// `TooManyRequestsException`.
    TooManyRequests,
    /// `LimitExceededException`.
    LimitExceeded,
    /// `InvalidParameterException` and `ValidationException`.
    InvalidParameter,
    /// Any other.
    Other(String),
}

/// The body of a refusal.
#[derive(Default, Deserialize)]
struct RefusalBody {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

// === impl CognitoCall ===

impl CognitoCall {
    /// Its name in the header `X-Amz-Target`.
    pub const fn target(self) -> &'static str {
        match self {
            Self::GetId => "AWSCognitoIdentityService.GetId",
            Self::GetCredentials => "AWSCognitoIdentityService.GetCredentialsForIdentity",
        }
    }
}

impl std::fmt::Display for CognitoCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::GetId => "GetId",
            Self::GetCredentials => "GetCredentialsForIdentity",
        })
    }
}

// === impl CognitoError ===

impl CognitoError {
    /// The refusal in a response whose status is not 200.
    pub(super) fn refused(call: CognitoCall, response: &WebResponse) -> Self {
        let body: RefusalBody = serde_json::from_slice(response.body()).unwrap_or_default();
        let header = response.header("x-amzn-errortype").unwrap_or_default();
        let kind = if body.kind.is_empty() { header } else { &body.kind };
        let refusal = CognitoRefusal::of_type(kind);
        let said = body.message.chars().filter(|c| !c.is_control());
        let said: String = said.take(MAX_MESSAGE).collect();
        let message = if said.is_empty() { said } else { format!(" ({said})") };
        Self::Refused { call, status: response.status(), refusal, message }
    }

    /// Whether the service no longer knows the identity: a new one may be better.
    pub(super) const fn is_lost_identity(&self) -> bool {
        use CognitoRefusal::{InvalidParameter, NotFound};
        matches!(
            self,
            Self::Refused {
                call: CognitoCall::GetCredentials,
                refusal: NotFound | InvalidParameter,
                ..
            } | Self::Refused { call: CognitoCall::GetCredentials, status: 404, .. }
        )
    }

    /// What to do.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "check `region` or `cognito_endpoint`, the name resolution, and the firewall for HTTPS"
            }
            Self::Refused { call, refusal, .. } => refusal.advice(*call),
            Self::Unreadable { .. } => "check that `cognito_endpoint` names a Cognito service",
            Self::Ended { .. } => "check the clock of this machine",
            Self::Identity(_) => "check the database",
        }
    }
}

// === impl CognitoRefusal ===

impl CognitoRefusal {
    fn of_type(kind: &str) -> Self {
        // `com.amazonaws.cognito#NotAuthorizedException`, or `NotAuthorizedException:http://...`
        let name = kind.rsplit('#').next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default().trim();
        match name {
            "NotAuthorizedException" => Self::NotAuthorized,
            "ResourceNotFoundException" => Self::NotFound,
            "InvalidIdentityPoolConfigurationException" => Self::PoolWithoutRole,
            "TooManyRequestsException" | "ThrottlingException" => Self::TooManyRequests,
            "LimitExceededException" => Self::LimitExceeded,
            "InvalidParameterException" | "ValidationException" => Self::InvalidParameter,
            "" => Self::Other("the service names no reason".to_owned()),
            other => {
                let plain = other.chars().filter(char::is_ascii_alphanumeric);
                Self::Other(plain.take(64).collect())
            }
        }
    }

    const fn advice(&self, call: CognitoCall) -> &'static str {
        match (self, call) {
            (Self::NotAuthorized, _) => {
                "the identity pool forbids guests: allow unauthenticated identities in the pool \
                 (Cognito console: User access, Guest access)"
            }
            (Self::NotFound, CognitoCall::GetId) => {
                "the pool does not exist in this region: check `identity_pool_id` and `region`"
            }
            (Self::NotFound, CognitoCall::GetCredentials) => {
                "the pool no longer has the identity: Sluice requests another one"
            }
            (Self::PoolWithoutRole, _) => {
                "the pool has no usable role for guests: attach an IAM role whose trust policy \
                 names this pool"
            }
            (Self::TooManyRequests, _) => "Cognito limits the rate: Sluice waits and tries again",
            (Self::LimitExceeded, _) => "a quota of the AWS account is used up: raise it in AWS",
            (Self::InvalidParameter, _) => {
                "check `identity_pool_id`: it has the form region:xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
            }
            (Self::Other(_), _) => "check `identity_pool_id`, `region` and `cognito_endpoint`",
        }
    }
}

impl std::fmt::Display for CognitoRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAuthorized => "NotAuthorizedException",
            Self::NotFound => "ResourceNotFoundException",
            Self::PoolWithoutRole => "InvalidIdentityPoolConfigurationException",
            Self::TooManyRequests => "TooManyRequestsException",
            Self::LimitExceeded => "LimitExceededException",
            Self::InvalidParameter => "InvalidParameterException",
            Self::Other(kind) => kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_recognized_in_each_form_that_services_use() {
        for text in [
            "NotAuthorizedException",
            "com.amazonaws.cognito.identity.model#NotAuthorizedException",
            "NotAuthorizedException:http://internal.amazon.com/",
        ] {
            assert_eq!(CognitoRefusal::of_type(text), CognitoRefusal::NotAuthorized, "{text}");
        }
        let other = CognitoRefusal::of_type("Some\u{1b}Exception");
        assert_eq!(other, CognitoRefusal::Other("SomeException".into()));
    }
}
