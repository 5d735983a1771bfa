//! Closes an inspector that we opened, so that the process is as it was before.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{client::Client, error::InspectorError, opening::Inspector, sockets};

const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Closing an inspector blocks the process until every client has hung up (measured: with a client that does not, its
/// event loop stands still for ever). We do so at once when its good-bye comes. Hanging up first and having it close a
/// moment later by a timer looks kinder, and killed the process now and then: where Node has not noticed yet that a
/// client is gone, it writes its good-bye to nobody, and its inspector thread dies of SIGSEGV (2 of 24 rounds on a busy
/// machine, Node 16.20 and 26.10; none in hundreds of this way).
const CLOSE: &str = "process._debugEnd()";

/// Lets go of the inspector, and closes it where we opened it. The error says why it stays open.
pub(super) async fn close(mut client: Client, inspector: &Inspector) -> Result<(), InspectorError> {
    if !inspector.opened_by_us {
        client.close().await;
        return Ok(());
    }
    if has_other_clients(inspector) {
        client.close().await;
        let why = "another debugger is connected to it, which it would wait for".to_owned();
        return Err(InspectorError::Refused(why));
    }
    let params = json!({ "expression": CLOSE, "silent": true });
    // A snapshot that was interrupted still comes, and must be taken before there is an answer.
    let asked = client.call_streaming("Runtime.evaluate", params, PATIENCE, |_| Ok(())).await;
    match asked {
        // Its good-bye is its answer: from now on the process waits for us.
        Err(InspectorError::Closed) => {
            drop(client);
            wait_until_closed(inspector).await
        }
        Err(error) => {
            client.close().await;
            Err(error)
        }
        Ok(()) => {
            client.close().await;
            wait_until_closed(inspector).await
        }
    }
}

/// Connections to it beside our own.
fn has_other_clients(inspector: &Inspector) -> bool {
    sockets::own_connections(inspector.pid, inspector.address.port()).is_ok_and(|count| count > 1)
}

async fn wait_until_closed(inspector: &Inspector) -> Result<(), InspectorError> {
    let port = inspector.address.port();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listeners = sockets::listeners(inspector.pid);
        let is_open =
            listeners.is_ok_and(|all| all.iter().any(|one| one.is_own && one.address.port() == port));
        if !is_open {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = "it was asked to close and still listens".to_owned();
            return Err(InspectorError::NotOpened(why));
        }
        sleep(LOOK_EVERY).await;
    }
}
