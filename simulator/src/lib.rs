//! AWS Amplify's two control APIs (`amplifybackend`, `amplify`) and STS on loopback, wire-exact, with job clocks and
//! faults. The operator's tests, demo and benchmark call it through the unchanged AWS SDK.
//!
//! The credential scope of the signature determines the service, so that one `AWS_ENDPOINT_URL` serves all. Behaviour
//! that AWS does not document is a guess, and the code says so in that place.
//!
//! ```
//! use amplify_simulator::{Action, Config, Fault, Operation, Simulator};
//!
//! let simulator = Simulator::start(&Config::default().app("d123", "shop"))?;
//! simulator.control().fault(Fault::on(Operation::CreateBackend, Action::ResetAfter));
//! // … point a client at simulator.url() with simulator.client_env() …
//! assert!(simulator.history().accepted_creates().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```

mod calls;
mod clock;
mod config;
mod control;
mod faults;
mod history;
mod identity;
mod ids;
mod in_process;
mod limits;
mod operations;
mod server;
mod service;
mod sigv4;
mod simulator;
mod state;
mod wire;

pub use calls::Calls;
pub use config::{
    App, CloneJobEnvironment, Config, Crowded, DEFAULT_ACCESS_KEY_ID, DEFAULT_ACCOUNT, DEFAULT_SECRET_ACCESS_KEY, Echo,
    Key, Role, Settings,
};
pub use control::{
    AppState, BackendState, Category, Control, EnvironmentState, JobState, Location, RemoteControl, RemoteError,
    ResourceState,
};
pub use faults::{Action, Ending, Fault, Garbage, JobFault, JobScript, Match, Rules};
pub use history::{Body, Call, Count, Filter};
pub use in_process::{Delivery, InProcess};
pub use simulator::Simulator;
pub use wire::{
    model::table,
    operation::{Class, Operation, Service},
};
