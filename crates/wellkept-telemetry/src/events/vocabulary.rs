//! The vocabulary of security events: every type of OWASP's Logging Vocabulary Cheat Sheet, with its parameters and its
//! fixed level (<https://cheatsheetseries.owasp.org/cheatsheets/Logging_Vocabulary_Cheat_Sheet.html>).

use super::text::{Bounded, bounded};
use crate::logging::Level;

/// The parameters of all types; each type has some of them. A parameter that is empty is not written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parameters<'a> {
    pub(super) user: Option<Bounded<'a>>,
    pub(super) on_user: Option<Bounded<'a>>,
    pub(super) retries: Option<u64>,
    pub(super) max: Option<u64>,
    pub(super) reason: Option<Bounded<'a>>,
    pub(super) from: Option<Bounded<'a>>,
    pub(super) to: Option<Bounded<'a>>,
    pub(super) entitlements: Option<Bounded<'a>>,
    pub(super) token_id: Option<Bounded<'a>>,
    pub(super) app: Option<Bounded<'a>>,
    pub(super) resource: Option<Bounded<'a>>,
    pub(super) action: Option<Bounded<'a>>,
    pub(super) file: Option<Bounded<'a>>,
    pub(super) file_type: Option<Bounded<'a>>,
    pub(super) validator: Option<Bounded<'a>>,
    pub(super) result: Option<Bounded<'a>>,
    pub(super) input: Option<Bounded<'a>>,
    pub(super) tool: Option<Bounded<'a>>,
    pub(super) referer: Option<Bounded<'a>>,
    pub(super) object: Option<Bounded<'a>>,
    pub(super) monitor: Option<Bounded<'a>>,
    pub(super) attributes: Option<Bounded<'a>>,
}

/// What the validation of an upload found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Nothing wrong.
    Passed,
    /// It could not be told.
    Incomplete,
    /// Something is wrong with the file.
    Failed,
}

impl Validation {
    /// The word on the wire: `passed`, `incomplete`, `FAILED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Incomplete => "incomplete",
            Self::Failed => "FAILED",
        }
    }
}

/// How a parameter becomes a field.
trait Parameter<'a, T> {
    fn field(self) -> Option<T>;
}

impl<'a> Parameter<'a, Bounded<'a>> for &'a str {
    fn field(self) -> Option<Bounded<'a>> {
        bounded(self)
    }
}

impl<'a> Parameter<'a, Bounded<'a>> for Validation {
    fn field(self) -> Option<Bounded<'a>> {
        bounded(self.as_str())
    }
}

impl Parameter<'_, Self> for u64 {
    fn field(self) -> Option<Self> {
        Some(self)
    }
}

macro_rules! vocabulary {
    ($(#[doc = $doc:literal] $variant:ident($name:literal, $level:ident) { $($parameter:ident: $type:ty),* })*) => {
        /// A security event. `user` is who acts, by an id and not by what is secret of them; it and every other text may
        /// be empty where it is not known, and is then not written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "each type's text names its parameters, which are called as in the vocabulary")]
        pub enum SecurityEvent<'a> {
            $(#[doc = $doc] #[doc = concat!("\n\n`", $name, "`, ", stringify!($level), ".")] $variant { $($parameter: $type),* },)*
        }

        /// Name, level and meaning of every type, in the order of the vocabulary. An upload that passed its validation is
        /// `info`.
        pub const SECURITY_EVENTS: &[(&str, Level, &str)] = &[$(($name, Level::$level, $doc)),*];

        impl<'a> SecurityEvent<'a> {
            /// The vocabulary's name, for example `authn_login_fail`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }

            /// What it is in a few words.
            pub(super) fn meaning(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $doc.trim_ascii(),)*
                }
            }

            /// The vocabulary's level: fixed, whatever level the log has.
            pub fn level(&self) -> Level {
                match self {
                    Self::UploadValidation { result: Validation::Passed, .. } => Level::Info,
                    $(Self::$variant { .. } => Level::$level,)*
                }
            }

            pub(super) fn parameters(&self) -> Parameters<'a> {
                match *self {
                    $(Self::$variant { $($parameter),* } => Parameters {
                        $($parameter: Parameter::field($parameter),)*
                        ..Parameters::default()
                    },)*
                }
            }
        }
    };
}

vocabulary! {
    /// A user logged in
    AuthnLoginSuccess("authn_login_success", Info) { user: &'a str }
    /// A user logged in after failed attempts
    AuthnLoginSuccessAfterFail("authn_login_successafterfail", Info) { user: &'a str, retries: u64 }
    /// A login failed
    AuthnLoginFail("authn_login_fail", Warning) { user: &'a str }
    /// A user reached the limit of failed logins
    AuthnLoginFailMax("authn_login_fail_max", Warning) { user: &'a str, max: u64 }
    /// An account was locked, for the reason `maxretries`, `suspicious`, `customer` or `other`
    AuthnLoginLock("authn_login_lock", Warning) { user: &'a str, reason: &'a str }
    /// A password was changed
    AuthnPasswordChange("authn_password_change", Info) { user: &'a str }
    /// The change of a password failed
    AuthnPasswordChangeFail("authn_password_change_fail", Critical) { user: &'a str }
    /// A user appeared in two places too far from each other
    AuthnImpossibleTravel("authn_impossible_travel", Critical) { user: &'a str, from: &'a str, to: &'a str }
    /// A token was made, with these entitlements
    AuthnTokenCreated("authn_token_created", Info) { user: &'a str, entitlements: &'a str }
    /// A token was revoked
    AuthnTokenRevoked("authn_token_revoked", Info) { user: &'a str, token_id: &'a str }
    /// A token that was revoked was used again
    AuthnTokenReuse("authn_token_reuse", Critical) { user: &'a str, token_id: &'a str }
    /// The token of an application was deleted
    AuthnTokenDelete("authn_token_delete", Warning) { app: &'a str }
    /// Access to a resource was refused
    AuthzFail("authz_fail", Critical) { user: &'a str, resource: &'a str }
    /// The entitlements of a user were changed
    AuthzChange("authz_change", Warning) { user: &'a str, from: &'a str, to: &'a str }
    /// An administrator acted
    AuthzAdmin("authz_admin", Warning) { user: &'a str, action: &'a str }
    /// Data could not be decrypted
    CryptDecryptFail("crypt_decrypt_fail", Warning) { user: &'a str }
    /// Data could not be encrypted
    CryptEncryptFail("crypt_encrypt_fail", Warning) { user: &'a str }
    /// A limit of use was exceeded
    ExcessRateLimitExceeded("excess_rate_limit_exceeded", Warning) { user: &'a str, max: u64 }
    /// An upload is complete
    UploadComplete("upload_complete", Info) { user: &'a str, file: &'a str, file_type: &'a str }
    /// An upload was stored under another name
    UploadStored("upload_stored", Info) { file: &'a str, from: &'a str, to: &'a str }
    /// An upload was validated
    UploadValidation("upload_validation", Critical) { file: &'a str, validator: &'a str, result: Validation }
    /// An upload was deleted
    UploadDelete("upload_delete", Info) { user: &'a str, file: &'a str }
    /// Input was refused
    InputValidationFail("input_validation_fail", Warning) { user: &'a str, input: &'a str }
    /// A value that no list offers came in
    InputValidationDiscreteFail("input_validation_discrete_fail", Warning) { user: &'a str, input: &'a str }
    /// A user asked for many things that are not there
    MaliciousExcess404("malicious_excess_404", Warning) { user: &'a str }
    /// Input came in that nothing takes
    MaliciousExtraneous("malicious_extraneous", Critical) { user: &'a str, input: &'a str }
    /// A tool for attacks was recognised
    MaliciousAttackTool("malicious_attack_tool", Critical) { user: &'a str, tool: &'a str }
    /// A page of another origin was refused
    MaliciousCors("malicious_cors", Critical) { user: &'a str, referer: &'a str }
    /// An object was asked for directly by someone who may not have it
    MaliciousDirectReference("malicious_direct_reference", Critical) { user: &'a str }
    /// The permissions of an object were changed
    PrivilegePermissionsChanged("privilege_permissions_changed", Warning) { user: &'a str, object: &'a str, from: &'a str, to: &'a str }
    /// Sensitive data was created
    SensitiveCreate("sensitive_create", Warning) { user: &'a str, object: &'a str }
    /// Sensitive data was read
    SensitiveRead("sensitive_read", Warning) { user: &'a str, object: &'a str }
    /// Sensitive data was changed
    SensitiveUpdate("sensitive_update", Warning) { user: &'a str, object: &'a str }
    /// Sensitive data was deleted
    SensitiveDelete("sensitive_delete", Warning) { user: &'a str, object: &'a str }
    /// A user came to a step out of turn
    SequenceFail("sequence_fail", Critical) { user: &'a str }
    /// A session began
    SessionCreated("session_created", Info) { user: &'a str }
    /// A session was renewed
    SessionRenewed("session_renewed", Info) { user: &'a str }
    /// A session ended, for a reason such as `logout`, `timeout` or `revoked`
    SessionExpired("session_expired", Info) { user: &'a str, reason: &'a str }
    /// A session was used after its end
    SessionUseAfterExpire("session_use_after_expire", Critical) { user: &'a str }
    /// The system was started
    SysStartup("sys_startup", Warning) { user: &'a str }
    /// The system was shut down
    SysShutdown("sys_shutdown", Warning) { user: &'a str }
    /// The system was restarted
    SysRestart("sys_restart", Warning) { user: &'a str }
    /// The system broke down
    SysCrash("sys_crash", Warning) { reason: &'a str }
    /// A monitor was disabled
    SysMonitorDisabled("sys_monitor_disabled", Warning) { user: &'a str, monitor: &'a str }
    /// A monitor was enabled
    SysMonitorEnabled("sys_monitor_enabled", Warning) { user: &'a str, monitor: &'a str }
    /// A user was created, with these attributes
    UserCreated("user_created", Warning) { user: &'a str, on_user: &'a str, attributes: &'a str }
    /// A user was updated
    UserUpdated("user_updated", Warning) { user: &'a str, on_user: &'a str, attributes: &'a str }
    /// A user was archived
    UserArchived("user_archived", Warning) { user: &'a str, on_user: &'a str }
    /// A user was deleted
    UserDeleted("user_deleted", Warning) { user: &'a str, on_user: &'a str }
}
