//! Signs browsers in and out, redeems invites and changes passwords.

use std::sync::Arc;

use parking_lot::Mutex;

use super::error::AccessError;
use super::password_hash::PasswordHashing;
use crate::admin::audit;
use crate::clock::{Clock, Entropy, SystemEntropy};
use crate::domain::access::account::{Account, SignInLimits};
use crate::domain::access::audit::AuditOutcome;
use crate::domain::access::password::{PASSWORD_BYTES_MAX, check_password};
use crate::domain::access::secret::AccessSecret;
use crate::domain::access::throttle::AttemptThrottle;
use crate::domain::access::{AccountPrincipal, Principal, Role};
use crate::domain::hex::to_hex;
use crate::domain::ids::AccountName;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{
    AccountOutcome, BeginAudit, ChangePassword, EndSignIn, NewSignIn, RedeemInvite, RefreshSignIn,
    SignInBrowser, Store,
};

/// Maximum characters of the name of a browser.
const BROWSER_CHARS_MAX: usize = 200;
/// Wait of a browser that came while too many others waited.
const FLOOD_PAUSE: Millis = Millis::from_secs(2);

/// Service that signs browsers in and out. Cheap to clone. Its functions block.
#[derive(Clone)]
pub struct AccessService {
    store: Store,
    clock: Arc<dyn Clock>,
    limits: SignInLimits,
    hashing: PasswordHashing,
    throttle: Arc<Mutex<AttemptThrottle>>,
}

/// Account of an invite that can be used.
#[derive(Clone, Debug)]
pub struct InviteView {
    /// Account name.
    pub name: AccountName,
    /// Role of the account.
    pub role: Role,
    /// Time when the link ends.
    pub expires_at: Timestamp,
}

/// Browser that has just signed in.
#[derive(Clone, Debug)]
pub struct NewSignInView {
    /// Value of the cookie.
    pub cookie: String,
    /// Account of the browser.
    pub principal: AccountPrincipal,
    /// Token that forms and scripts of the browser must send.
    pub csrf_token: String,
}

/// Browser that has signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Account of the browser.
    pub account: AccountPrincipal,
    secret: AccessSecret,
}

/// Sign-in of an account, for its list.
#[derive(Clone, Debug)]
pub struct SignInView {
    /// ID of the sign-in. It is not its secret.
    pub id: String,
    /// Name of the browser, as the browser sent it.
    pub browser: String,
    /// Time of the sign-in.
    pub created_at: Timestamp,
    /// Time of the last request, exact to a minute.
    pub last_seen_at: Timestamp,
    /// `true` for the browser that asks.
    pub is_current: bool,
}

impl SignedIn {
    /// Returns the principal of the browser's requests.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal::Account(self.account.clone())
    }

    /// Returns the token that forms and scripts of the browser must send.
    #[must_use]
    pub fn csrf_token(&self) -> String {
        self.secret.csrf_token()
    }

    /// Returns `true` if the token belongs to the browser.
    #[must_use]
    pub fn has_csrf_token(&self, token: &str) -> bool {
        self.secret.has_csrf_token(token)
    }
}

/// Creates the secret of an invite, of a sign-in, or of a browser that has not signed in.
#[must_use]
pub fn new_secret() -> AccessSecret {
    let mut random = [0; 32];
    SystemEntropy.fill(&mut random);
    AccessSecret::new(random)
}

impl AccessService {
    /// Creates the service.
    pub fn new(store: Store, clock: Arc<dyn Clock>, limits: SignInLimits) -> Self {
        Self {
            store,
            clock,
            limits,
            hashing: PasswordHashing::default(),
            throttle: Arc::default(),
        }
    }

    /// Returns the account of an invite.
    ///
    /// # Errors
    /// [`AccessError::InvalidInvite`] if the link is unknown, used or expired.
    pub fn find_invite(&self, secret: &str) -> Result<InviteView, AccessError> {
        self.find_invite_of(&parse_invite(secret)?)
    }

    fn find_invite_of(&self, secret: &AccessSecret) -> Result<InviteView, AccessError> {
        let now = self.clock.now();
        let accounts = self.store.read_last()?.accounts()?;
        let mut invites = accounts.into_iter().filter_map(|account| {
            let invite = account
                .invite
                .filter(|invite| invite.opens_with(secret, now))?;
            Some(InviteView {
                name: account.name,
                role: account.role,
                expires_at: invite.expires_at,
            })
        });
        invites.next().ok_or(AccessError::InvalidInvite)
    }

    /// Sets the password of an invited account and signs the browser in.
    ///
    /// # Errors
    /// [`AccessError::InvalidInvite`], or [`AccessError::Password`] if the password is refused. The
    /// link stays valid after a refused password.
    pub fn redeem_invite(
        &self,
        secret: &str,
        password: &str,
        browser: &str,
    ) -> Result<NewSignInView, AccessError> {
        let secret = parse_invite(secret)?;
        let invite = self.find_invite_of(&secret)?;
        check_password(&invite.name, password)?;
        let password_hash = self.hash(password)?;
        let (cookie, sign_in) = self.new_sign_in(browser);
        let redeemed = self.store.execute_blocking(RedeemInvite {
            secret,
            password_hash,
            sign_in,
        })?;
        match redeemed {
            AccountOutcome::Changed(account) => self.signed_in(&account, &cookie, "redeem_invite"),
            _ => Err(AccessError::InvalidInvite),
        }
    }

    /// Signs a browser in.
    ///
    /// # Errors
    /// [`AccessError::WrongCredentials`] also for an unknown account, after the same time.
    /// [`AccessError::TooManyAttempts`] if too many attempts failed.
    pub fn sign_in(
        &self,
        name: &str,
        password: &str,
        browser: &str,
    ) -> Result<NewSignInView, AccessError> {
        let typed: String = name.trim().chars().take(64).collect();
        self.begin_attempt(&typed)?;
        let account = match AccountName::new(&typed) {
            Ok(name) => self.store.read_last()?.account(&name)?,
            Err(_) => None,
        };
        self.verify(password, account.as_ref())?;
        let account = account.ok_or(AccessError::WrongCredentials)?;
        let (cookie, sign_in) = self.new_sign_in(browser);
        let is_signed_in = self.store.execute_blocking(SignInBrowser {
            name: account.name.clone(),
            password_hash: account.password_hash.clone().unwrap_or_default(),
            sign_in,
        })?;
        if !is_signed_in {
            return Err(AccessError::WrongCredentials);
        }
        self.throttle.lock().record_success(&typed);
        self.signed_in(&account, &cookie, "sign_in")
    }

    /// Returns the browser with this cookie. Returns `None` if it is not signed in. The time of the
    /// request is stored at most once a minute.
    ///
    /// # Errors
    /// [`AccessError::Admin`] if the store failed.
    pub fn authenticate(&self, cookie: &str) -> Result<Option<SignedIn>, AccessError> {
        let Some(secret) = AccessSecret::parse(cookie) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let snapshot = self.store.read_last()?;
        let sign_in = snapshot.sign_in(&secret)?;
        let Some(sign_in) = sign_in.filter(|sign_in| sign_in.is_valid(now, self.limits)) else {
            return Ok(None);
        };
        let Some(account) = snapshot.account(&sign_in.account)? else {
            return Ok(None);
        };
        drop(snapshot);
        if sign_in.is_refresh_due(now, self.limits) {
            // Nobody waits for the commit. A lost refresh only ends the sign-in earlier.
            let refresh = RefreshSignIn {
                secret: secret.clone(),
            };
            self.store.submit(refresh, |_, _| {});
        }
        Ok(Some(SignedIn {
            account: account.principal(),
            secret,
        }))
    }

    /// Ends the sign-in of the browser.
    ///
    /// # Errors
    /// [`AccessError::Admin`] if the store failed.
    pub fn sign_out(&self, signed_in: &SignedIn) -> Result<(), AccessError> {
        let id = sign_in_id(&signed_in.secret.hash());
        self.end_sign_in(signed_in, &id).map(|_| ())
    }

    /// Changes the password, ends all sign-ins of the account and signs the browser in anew.
    ///
    /// # Errors
    /// As [`AccessService::sign_in`], or [`AccessError::Password`].
    pub fn change_password(
        &self,
        signed_in: &SignedIn,
        old: &str,
        new: &str,
        browser: &str,
    ) -> Result<NewSignInView, AccessError> {
        let name = &signed_in.account.name;
        check_password(name, new)?;
        self.begin_attempt(name.as_str())?;
        let account = self.store.read_last()?.account(name)?;
        self.verify(old, account.as_ref())?;
        let old_hash = account.and_then(|account| account.password_hash);
        let new_hash = self.hash(new)?;
        let (cookie, sign_in) = self.new_sign_in(browser);
        let changed = self.store.execute_blocking(ChangePassword {
            name: name.clone(),
            old_hash: old_hash.unwrap_or_default(),
            new_hash,
            sign_in,
        })?;
        self.throttle.lock().record_success(name.as_str());
        match changed {
            AccountOutcome::Changed(account) => {
                self.signed_in(&account, &cookie, "change_password")
            }
            _ => Err(AccessError::WrongCredentials),
        }
    }

    /// Lists the sign-ins of the browser's account, the newest request first.
    ///
    /// # Errors
    /// [`AccessError::Admin`] if the store failed.
    pub fn sign_ins(&self, signed_in: &SignedIn) -> Result<Vec<SignInView>, AccessError> {
        let now = self.clock.now();
        let rows = self.store.read_last()?.sign_ins()?.into_iter();
        let own = rows.filter(|(_, sign_in)| {
            sign_in.account == signed_in.account.name && sign_in.is_valid(now, self.limits)
        });
        let mut views: Vec<SignInView> = own
            .map(|(_, sign_in)| SignInView {
                id: sign_in_id(&sign_in.secret_hash),
                browser: sign_in.browser,
                created_at: sign_in.created_at,
                last_seen_at: sign_in.last_seen_at,
                is_current: signed_in.secret.has_hash(&sign_in.secret_hash),
            })
            .collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.last_seen_at));
        Ok(views)
    }

    /// Ends one sign-in of the browser's account. Returns `false` if there is none with this ID.
    ///
    /// # Errors
    /// [`AccessError::Admin`] if the store failed.
    pub fn end_sign_in(&self, signed_in: &SignedIn, id: &str) -> Result<bool, AccessError> {
        let rows = self.store.read_last()?.sign_ins()?;
        let found = rows
            .into_iter()
            .find(|(_, sign_in)| sign_in_id(&sign_in.secret_hash) == id);
        let Some((key, _)) = found else {
            return Ok(false);
        };
        let name = signed_in.account.name.clone();
        let has_ended = self.store.execute_blocking(EndSignIn {
            name: name.clone(),
            key,
        })?;
        if has_ended {
            self.record(&name, "sign_out")?;
        }
        Ok(has_ended)
    }

    fn begin_attempt(&self, name: &str) -> Result<(), AccessError> {
        let now = Millis::from_duration(self.clock.elapsed());
        let begun = self.throttle.lock().begin_attempt(name, now);
        begun.map_err(|retry_after| AccessError::TooManyAttempts { retry_after })
    }

    fn verify(&self, password: &str, account: Option<&Account>) -> Result<(), AccessError> {
        let hash = account.and_then(|account| account.password_hash.as_deref());
        let is_short = password.len() <= PASSWORD_BYTES_MAX;
        let typed = if is_short { password } else { "" };
        match self.hashing.verify(typed, hash) {
            Some(true) => Ok(()),
            Some(false) => Err(AccessError::WrongCredentials),
            None => Err(flood()),
        }
    }

    fn hash(&self, password: &str) -> Result<String, AccessError> {
        self.hashing.hash(password).ok_or_else(flood)
    }

    fn new_sign_in(&self, browser: &str) -> (AccessSecret, NewSignIn) {
        let secret = new_secret();
        let is_shown = |c: &char| !c.is_control();
        let sign_in = NewSignIn {
            secret_hash: secret.hash(),
            browser: browser
                .chars()
                .filter(is_shown)
                .take(BROWSER_CHARS_MAX)
                .collect(),
            limits: self.limits,
        };
        (secret, sign_in)
    }

    fn signed_in(
        &self,
        account: &Account,
        cookie: &AccessSecret,
        request: &str,
    ) -> Result<NewSignInView, AccessError> {
        self.record(&account.name, request)?;
        Ok(NewSignInView {
            cookie: cookie.to_text(),
            principal: account.principal(),
            csrf_token: cookie.csrf_token(),
        })
    }

    fn record(&self, name: &AccountName, request: &str) -> Result<(), AccessError> {
        let mut entry = audit::new_entry(Some(name.clone()), request, String::new());
        entry.outcome = AuditOutcome::Done;
        self.store.execute_blocking(BeginAudit { entry })?;
        Ok(())
    }
}

fn parse_invite(secret: &str) -> Result<AccessSecret, AccessError> {
    AccessSecret::parse(secret).ok_or(AccessError::InvalidInvite)
}

const fn flood() -> AccessError {
    AccessError::TooManyAttempts {
        retry_after: FLOOD_PAUSE,
    }
}

/// Returns the ID of a sign-in: the second half of the hash. It opens nothing.
fn sign_in_id(secret_hash: &[u8; 32]) -> String {
    let (_, second_half) = secret_hash.split_at(16);
    to_hex(second_half)
}
