//! Maps method and path to operation and names, with the table of operations. Pure.

use std::sync::LazyLock;

use super::{
    operation::{Operation, Service},
    path,
};

/// The operation of a path, with the names in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    pub(crate) app: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) job: Option<String>,
}

/// An operation's method and path.
struct Template {
    operation: Operation,
    method: &'static str,
    segments: Vec<&'static str>,
}

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let template = |operation: Operation| {
        let (method, path) = operation.route().split_once(' ')?;
        Some(Template {
            operation,
            method,
            segments: path.split('/').skip(1).collect(),
        })
    };
    Operation::ALL.iter().copied().filter_map(template).collect()
});

/// Routes a request of one of the two Amplify APIs by its received path, after removing dot segments.
pub(crate) fn route(service: Service, method: &str, raw_path: &str) -> Route {
    let unknown = Route {
        operation: Operation::Unknown,
        app: None,
        environment: None,
        job: None,
    };
    let Some(segments) = path::segments(raw_path) else {
        return unknown;
    };
    let mut of_service = TEMPLATES
        .iter()
        .filter(|template| template.operation.service() == Some(service) && template.method == method);
    of_service
        .find_map(|template| matching(template, &segments))
        .unwrap_or(unknown)
}

fn matching(template: &Template, segments: &[String]) -> Option<Route> {
    if template.segments.len() != segments.len() {
        return None;
    }
    let mut route = Route {
        operation: template.operation,
        app: None,
        environment: None,
        job: None,
    };
    for (wanted, given) in template.segments.iter().zip(segments) {
        let name = match *wanted {
            "{appId}" => &mut route.app,
            "{backendEnvironmentName}" | "{environmentName}" => &mut route.environment,
            "{jobId}" => &mut route.job,
            literal if literal == given => continue,
            _ => return None,
        };
        *name = Some(given.clone());
    }
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
            POST /backend/d1/storage                CreateBackendStorage d1
            POST /backend/d1/storage/dev            UpdateBackendStorage d1 dev
            POST /backend/d1/storage/dev/import     ImportBackendStorage d1 dev
            POST /backend/d1/storage/dev/details    GetBackendStorage d1 dev
            POST /backend/d1/storage/dev/remove     DeleteBackendStorage d1 dev
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
                Service::AmplifyBackend,
                "POST",
                "/backend/d1/storage/../remove",
                Op::RemoveAllBackends,
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
