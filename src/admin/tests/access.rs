//! Tests sign-ins, invites and the roles against a store.

use super::support::AdminHarness;
use crate::admin::access::{AccessError, AccessService, new_secret};
use crate::admin::{AccountInvite, AdminCommand};
use crate::domain::access::account::SignInLimits;
use crate::domain::access::password::PasswordProblem;
use crate::domain::access::secret::AccessSecret;
use crate::domain::access::{Principal, Role};
use crate::domain::ids::AccountName;
use crate::domain::time::Millis;

const HOUR: Millis = Millis::from_secs(3600);
const LIMITS: SignInLimits = SignInLimits {
    ttl: Millis::from_secs(10 * 3600),
    idle_timeout: HOUR,
};
const PASSWORD: &str = "correct horse battery";

fn service(harness: &AdminHarness) -> AccessService {
    AccessService::new(harness.store.clone(), harness.clock.clone(), LIMITS)
}

fn name(text: &str) -> AccountName {
    AccountName::new(text).unwrap()
}

fn invite(harness: &AdminHarness, account: &str) -> String {
    let row = harness.row(AdminCommand::InviteAccount(AccountInvite {
        name: name(account),
        role: Role::Owner,
        agent: None,
        expires_in: None,
    }));
    secret_of(&row)
}

fn secret_of(row: &serde_json::Value) -> String {
    let path = row["path"].as_str().unwrap();
    path.strip_prefix("/invite/").unwrap().to_owned()
}

#[test]
fn invite_works_once_and_signs_in() {
    let harness = AdminHarness::new();
    let access = service(&harness);
    let secret = invite(&harness, "ann");
    assert_eq!(access.find_invite(&secret).unwrap().name, name("ann"));
    let weak = access.redeem_invite(&secret, "short", "").unwrap_err();
    assert_eq!(weak, AccessError::Password(PasswordProblem::TooShort));
    let new = access
        .redeem_invite(&secret, PASSWORD, "Firefox\n")
        .unwrap();
    let signed_in = access.authenticate(&new.cookie).unwrap().unwrap();
    assert_eq!(signed_in.csrf_token(), new.csrf_token);
    assert!(matches!(signed_in.principal(), Principal::Account(a) if a.role == Role::Owner));
    for used in [&*secret, "", "x", &new.cookie] {
        let refused = access.redeem_invite(used, PASSWORD, "").unwrap_err();
        assert_eq!(refused, AccessError::InvalidInvite);
    }
    let list = access.sign_ins(&signed_in).unwrap();
    assert_eq!((list.len(), &*list[0].browser), (1, "Firefox"));
    assert!(list[0].is_current);
    access.sign_out(&signed_in).unwrap();
    assert!(access.authenticate(&new.cookie).unwrap().is_none());
}

#[test]
fn expired_invite_and_replaced_invite_are_refused() {
    let harness = AdminHarness::new();
    let access = service(&harness);
    let first = invite(&harness, "ann");
    let second = invite(&harness, "ann");
    assert!(access.find_invite(&first).is_err());
    harness.clock.advance(Millis::from_secs(3 * 24 * 3600));
    let refused = access.redeem_invite(&second, PASSWORD, "").unwrap_err();
    assert_eq!(refused, AccessError::InvalidInvite);
}

#[test]
fn guesses_are_refused_and_paused() {
    let harness = AdminHarness::new();
    let access = service(&harness);
    let secret = invite(&harness, "ann");
    access.redeem_invite(&secret, PASSWORD, "").unwrap();
    for account in ["ann", "nobody", "no body"] {
        for _ in 0..4 {
            let refused = access.sign_in(account, "wrong password", "").unwrap_err();
            assert_eq!(refused, AccessError::WrongCredentials);
        }
        let paused = access.sign_in(account, PASSWORD, "").unwrap_err();
        assert!(matches!(paused, AccessError::TooManyAttempts { .. }));
    }
    harness.clock.advance(Millis::from_secs(1));
    let first = access.sign_in(" ann ", PASSWORD, "").unwrap();
    let second = access.sign_in("ann", PASSWORD, "").unwrap();
    assert_ne!(first.cookie, second.cookie);
}

#[test]
fn sign_in_ends_when_idle_and_when_old() {
    let harness = AdminHarness::new();
    let access = service(&harness);
    let secret = invite(&harness, "ann");
    let new = access.redeem_invite(&secret, PASSWORD, "").unwrap();
    let is_valid = || access.authenticate(&new.cookie).unwrap().is_some();
    for _ in 0..11 {
        harness.clock.advance(Millis::from_secs(3000));
        assert!(is_valid());
        // The refresh runs in the background: a later transaction waits for it.
        invite(&harness, "ben");
    }
    harness.clock.advance(Millis::from_secs(3000));
    assert!(!is_valid(), "older than its lifetime");
    let new = access.sign_in("ann", PASSWORD, "").unwrap();
    harness.clock.advance(HOUR);
    assert!(access.authenticate(&new.cookie).unwrap().is_none(), "idle");
}

#[test]
fn changes_of_password_and_role_end_other_sign_ins() {
    let harness = AdminHarness::new();
    let access = service(&harness);
    let secret = invite(&harness, "ann");
    let old = access.redeem_invite(&secret, PASSWORD, "").unwrap();
    let signed_in = access.authenticate(&old.cookie).unwrap().unwrap();
    let next = "four other words here";
    let wrong = access.change_password(&signed_in, "wrong", next, "");
    assert_eq!(wrong.unwrap_err(), AccessError::WrongCredentials);
    let new = access
        .change_password(&signed_in, PASSWORD, next, "")
        .unwrap();
    let is_valid = |cookie: &str| access.authenticate(cookie).unwrap().is_some();
    assert!(!is_valid(&old.cookie) && is_valid(&new.cookie));
    harness.row(AdminCommand::SetAccountRole {
        name: name("ann"),
        role: Role::Viewer,
        agent: None,
    });
    assert!(!is_valid(&new.cookie));
    let new = access.sign_in("ann", next, "").unwrap();
    let row = harness.row(AdminCommand::ResetAccount {
        name: name("ann"),
        expires_in: None,
    });
    assert!(!is_valid(&new.cookie));
    let refused = access.sign_in("ann", next, "").unwrap_err();
    assert_eq!(refused, AccessError::WrongCredentials);
    let again = access
        .redeem_invite(&secret_of(&row), PASSWORD, "")
        .unwrap();
    assert_eq!(again.principal.role, Role::Viewer, "the role stays");
    harness.row(AdminCommand::RemoveAccount { name: name("ann") });
    assert!(!is_valid(&again.cookie));
}

#[test]
fn csrf_token_belongs_to_a_cookie() {
    let (cookie, other) = (new_secret(), new_secret());
    let token = cookie.csrf_token();
    let is_csrf_token = |cookie: &str, token: &str| {
        AccessSecret::parse(cookie).is_some_and(|secret| secret.has_csrf_token(token))
    };
    assert!(is_csrf_token(&cookie.to_text(), &token));
    assert!(!is_csrf_token(&other.to_text(), &token));
    assert!(!is_csrf_token("", &token) && !is_csrf_token("x", ""));
}
