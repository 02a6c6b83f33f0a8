//! A running simulator: a thread of its own, so that a test's runtime, paused clock or blocking code cannot stall AWS.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle};

use tokio::{net::TcpListener, sync::oneshot};

use crate::{Calls, Control, clock::Clock, config::Config, control, server, service::Shared};

/// The two Amplify APIs and STS on a local port, until it is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    client_env: Vec<(&'static str, String)>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Binds and serves. Requests are answered as soon as this returns.
    pub fn start(config: &Config) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let clock = Clock::of_machine();
        // Two simulators of one moment must not hand out the same ids.
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
                        // A dropped sender stops it just as well.
                        _ = stopped => {}
                    }
                });
            })?;
        let mut client_env = vec![
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_REGION", config.region.clone()),
            // The same for Python's SDK, which knows no other.
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

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value of `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the environment variables that make an AWS client use it.
    #[must_use]
    pub fn client_env(&self) -> &[(&'static str, String)] {
        &self.client_env
    }

    /// Clock, settings, faults, and whatever else happens behind a client's back.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone())
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn history(&self) -> Calls {
        Calls::new(self.shared.clone())
    }

    /// Stops it: open connections are closed, hung requests are dropped. Dropping does the same.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only if the thread has ended already.
            let _ended = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed there.
            let _printed = thread.join();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}
