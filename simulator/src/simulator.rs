//! A running simulator, on a thread of its own, so that a test's runtime, paused clock or blocking code cannot stall
//! it.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle};

use tokio::{net::TcpListener, sync::oneshot};

use crate::{Calls, Control, clock::Clock, config::Config, control, server, service::Shared};

/// The two Amplify APIs and STS on a local port, until dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    client_env: Vec<(&'static str, String)>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Starts a simulator. It answers requests as soon as this returns.
    pub fn start(config: &Config) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let clock = Clock::of_machine();
        // Two simulators that start at the same moment must not issue the same ids.
        let seed = clock.now().unsigned_abs() ^ (u64::from(std::process::id()) << 40);
        let shared = Arc::new(Shared::new(config, clock, seed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let control = control::routes(Control::new(shared.clone()));
        let serving = shared.clone();
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let thread = std::thread::Builder::new()
            .name("amplify-simulator".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = server::serve(listener, serving, control) => {}
                        // A dropped sender also stops the server.
                        _ = stopped => {}
                    }
                });
            })?;
        let mut client_env = vec![
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_REGION", config.region.clone()),
            // The same for Python's SDK, which reads only this variable.
            ("AWS_DEFAULT_REGION", config.region.clone()),
        ];
        if let Some(key) = config.keys.first() {
            client_env.push(("AWS_ACCESS_KEY_ID", key.access_key_id.clone()));
            client_env.push(("AWS_SECRET_ACCESS_KEY", key.secret_access_key.clone()));
            if let Some(token) = &key.session_token {
                client_env.push(("AWS_SESSION_TOKEN", token.clone()));
            }
        }
        Ok(Self {
            address,
            shared,
            client_env,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the address of the simulator.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value of `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the environment variables that direct an AWS client to the simulator.
    #[must_use]
    pub fn client_env(&self) -> &[(&'static str, String)] {
        &self.client_env
    }

    /// Returns the control of clock, settings, faults and all other changes that clients do not see.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone())
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn history(&self) -> Calls {
        Calls::new(self.shared.clone())
    }

    /// Stops the simulator: open connections are closed, hanging requests are dropped. Dropping the simulator does the
    /// same.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only if the thread has already ended.
            let _ended = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // The thread has already printed its panic.
            let _printed = thread.join();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}
