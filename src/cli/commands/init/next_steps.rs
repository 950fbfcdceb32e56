//! Names the three steps after `flowgate init`: server, proxy, Meta.

use std::fmt::Write;

use super::answers::Answers;
use super::executable::{Executable, INSTALLED_EXECUTABLE};
use super::files::TargetRoot;
use super::paths::CREDENTIALS;

/// Returns the steps that a person must do next.
pub(super) fn next_steps(
    answers: &Answers,
    executable: &Executable,
    target: &TargetRoot,
) -> [String; 3] {
    let copy = executable.copy_from.as_ref().map(|from| {
        format!(
            "install -m 755 {} {INSTALLED_EXECUTABLE} && ",
            from.display()
        )
    });
    let start = format!(
        "Start the server:\n   {}systemctl daemon-reload && systemctl enable --now flowgate.socket flowgate.service\n   \
         flowgate agents add NAME --team {}\n   flowgate doctor",
        copy.unwrap_or_default(),
        answers.team
    );
    let folder = target.path("/etc/flowgate/proxy");
    let proxy = format!(
        "Put a reverse proxy with a certificate in front. With Caddy:\n   \
         cat {0}/Caddyfile >> /etc/caddy/Caddyfile && systemctl reload caddy\n   \
         With nginx: see {0}/nginx.conf",
        folder.display()
    );
    let credentials = target.path(CREDENTIALS);
    let mut meta = format!(
        "Connect Meta (App dashboard, WhatsApp, Configuration):\n   \
         Callback URL   https://{}/webhook\n   \
         Verify token   the text in {}/verify-token\n   \
         Fields         messages, standby, messaging_handovers, flows",
        answers.domain,
        credentials.display()
    );
    if answers.app_secret.is_none() {
        // Writing to a String never fails.
        let _ = write!(
            meta,
            "\n   App secret     put it into {}/app-secret, then: systemctl restart flowgate",
            credentials.display()
        );
    }
    if answers.is_encrypted {
        // Writing to a String never fails.
        let _ = write!(
            meta,
            "\n   Endpoint       https://{}/flows/{} (settings of the Flow)\n   \
             Public key     flowgate keys upload --phone-number-id ID",
            answers.domain, answers.flow
        );
    }
    [start, proxy, meta]
}
