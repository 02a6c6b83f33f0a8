//! Method and path to operation and names. Pure.

use super::{
    operation::{Operation, Service},
    path,
};

/// What a path asks for, with the names that it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    pub(crate) app: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) job: Option<String>,
}

impl Route {
    const fn new(operation: Operation) -> Self {
        Self {
            operation,
            app: None,
            environment: None,
            job: None,
        }
    }

    fn app(mut self, app: &str) -> Self {
        self.app = Some(app.to_owned());
        self
    }

    fn environment(mut self, environment: &str) -> Self {
        self.environment = Some(environment.to_owned());
        self
    }

    fn job(mut self, job: &str) -> Self {
        self.job = Some(job.to_owned());
        self
    }
}

/// Routes a request of one of the two Amplify APIs by its path as received, dot segments removed.
pub(crate) fn route(service: Service, method: &str, raw_path: &str) -> Route {
    let Some(segments) = path::segments(raw_path) else {
        return Route::new(Operation::Unknown);
    };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let found = match service {
        Service::AmplifyBackend => amplifybackend(method, &segments),
        Service::Amplify => amplify(method, &segments),
        Service::Sts => None,
    };
    found.unwrap_or(const { Route::new(Operation::Unknown) })
}

fn amplifybackend(method: &str, segments: &[&str]) -> Option<Route> {
    use Operation as Op;
    let route = match (method, segments) {
        ("POST", ["backend"]) => Route::new(Op::CreateBackend),
        ("POST", ["backend", app, "details"]) => Route::new(Op::GetBackend).app(app),
        ("POST", ["backend", app, "remove"]) => Route::new(Op::RemoveAllBackends).app(app),
        ("POST", ["backend", app, "environments", env, "clone"]) => {
            Route::new(Op::CloneBackend).app(app).environment(env)
        }
        ("POST", ["backend", app, "environments", env, "remove"]) => {
            Route::new(Op::DeleteBackend).app(app).environment(env)
        }
        ("POST", ["backend", app, "api"]) => Route::new(Op::CreateBackendApi).app(app),
        ("POST", ["backend", app, "api", env]) => Route::new(Op::UpdateBackendApi).app(app).environment(env),
        ("POST", ["backend", app, "api", env, verb]) => {
            let operation = match *verb {
                "details" => Op::GetBackendApi,
                "remove" => Op::DeleteBackendApi,
                "generateModels" => Op::GenerateBackendApiModels,
                "getModels" => Op::GetBackendApiModels,
                _ => return None,
            };
            Route::new(operation).app(app).environment(env)
        }
        ("POST", ["backend", app, "job", env]) => Route::new(Op::ListBackendJobs).app(app).environment(env),
        ("GET", ["backend", app, "job", env, job]) => Route::new(Op::GetBackendJob).app(app).environment(env).job(job),
        ("POST", ["backend", app, "job", env, job]) => {
            Route::new(Op::UpdateBackendJob).app(app).environment(env).job(job)
        }
        _ => return None,
    };
    Some(route)
}

fn amplify(method: &str, segments: &[&str]) -> Option<Route> {
    use Operation as Op;
    let route = match (method, segments) {
        ("GET", ["apps"]) => Route::new(Op::ListApps),
        ("GET", ["apps", app]) => Route::new(Op::GetApp).app(app),
        ("DELETE", ["apps", app]) => Route::new(Op::DeleteApp).app(app),
        ("POST", ["apps", app, "backendenvironments"]) => Route::new(Op::CreateBackendEnvironment).app(app),
        ("GET", ["apps", app, "backendenvironments"]) => Route::new(Op::ListBackendEnvironments).app(app),
        ("GET", ["apps", app, "backendenvironments", env]) => {
            Route::new(Op::GetBackendEnvironment).app(app).environment(env)
        }
        ("DELETE", ["apps", app, "backendenvironments", env]) => {
            Route::new(Op::DeleteBackendEnvironment).app(app).environment(env)
        }
        _ => return None,
    };
    Some(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(service: Service, method: &str, path: &str) -> (Operation, String) {
        let route = route(service, method, path);
        let names = [route.app, route.environment, route.job]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        (route.operation, names)
    }

    #[test]
    fn every_path_of_the_service_models_is_routed() {
        const BACKEND: &str = "
            POST /backend                           CreateBackend
            POST /backend/d1/environments/dev/clone CloneBackend d1 dev
            POST /backend/d1/details                GetBackend d1
            POST /backend/d1/environments/dev/remove DeleteBackend d1 dev
            POST /backend/d1/remove                 RemoveAllBackends d1
            POST /backend/d1/api                    CreateBackendAPI d1
            POST /backend/d1/api/dev/details        GetBackendAPI d1 dev
            POST /backend/d1/api/dev                UpdateBackendAPI d1 dev
            POST /backend/d1/api/dev/remove         DeleteBackendAPI d1 dev
            POST /backend/d1/api/dev/generateModels GenerateBackendAPIModels d1 dev
            POST /backend/d1/api/dev/getModels      GetBackendAPIModels d1 dev
            POST /backend/d1/api/dev/other          Unknown
            GET  /backend/d1/job/dev/j1             GetBackendJob d1 dev j1
            POST /backend/d1/job/dev                ListBackendJobs d1 dev
            POST /backend/d1/job/dev/j1             UpdateBackendJob d1 dev j1
            GET  /backend/d1/details                Unknown
            GET  /apps                              Unknown";
        const AMPLIFY: &str = "
            POST   /apps/d1/backendenvironments     CreateBackendEnvironment d1
            GET    /apps/d1/backendenvironments/dev GetBackendEnvironment d1 dev
            GET    /apps/d1/backendenvironments     ListBackendEnvironments d1
            DELETE /apps/d1/backendenvironments/dev DeleteBackendEnvironment d1 dev
            GET    /apps/d1                         GetApp d1
            GET    /apps                            ListApps
            DELETE /apps/d1                         DeleteApp d1
            POST   /backend                         Unknown";
        for (service, table) in [(Service::AmplifyBackend, BACKEND), (Service::Amplify, AMPLIFY)] {
            for line in table.lines().filter(|line| !line.trim().is_empty()) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let (operation, found) = names(service, words[0], words[1]);
                assert_eq!((operation.as_str(), found), (words[2], words[3..].join(" ")), "{line}");
            }
        }
    }

    #[test]
    fn an_environment_named_dot_dot_reaches_the_dangerous_operations() {
        use Operation as Op;
        for (service, method, path, operation) in [
            (
                Service::AmplifyBackend,
                "POST",
                "/backend/d1/environments/../remove",
                Op::RemoveAllBackends,
            ),
            (
                Service::AmplifyBackend,
                "POST",
                "/backend/d1/api/../remove",
                Op::RemoveAllBackends,
            ),
            (
                Service::AmplifyBackend,
                "POST",
                "/backend/d1/api/../details",
                Op::GetBackend,
            ),
            (
                Service::Amplify,
                "DELETE",
                "/apps/d1/backendenvironments/..",
                Op::DeleteApp,
            ),
            (
                Service::Amplify,
                "DELETE",
                "/apps/d1/backendenvironments/../",
                Op::DeleteApp,
            ),
            (Service::Amplify, "GET", "/apps/d1/backendenvironments/..", Op::GetApp),
        ] {
            assert_eq!(names(service, method, path), (operation, "d1".into()), "{path}");
        }
    }
}
