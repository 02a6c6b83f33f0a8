//! The jobs of an environment: jobs about any kind of object are listed and read in the same way.

use aws_sdk_amplify::operation::RequestId as _;
use jiff::Timestamp;

use super::{
    super::{AppId, EnvironmentName, JobId, errors::Call},
    Client,
    answers::{Listed, absent_is_none, job_error, job_id, never, paged, same, too_long, unreadable, word},
    send,
};
use crate::{
    api::{Operation, Read},
    lifecycle::facts::{Failure, JobSeen, says_exists},
};

const LIST: Call = Call::read(Read::ListBackendJobs);
const GET: Call = Call::read(Read::GetBackendJob);

/// Takes the fields of a job, from the list or from the job's own answer.
macro_rules! job_seen {
    ($job:expr) => {{
        let job = $job;
        Described {
            app: job.app_id,
            environment: job.backend_environment_name,
            id: job.job_id,
            operation: job.operation,
            status: job.status,
            create_time: job.create_time,
            update_time: job.update_time,
            error: job.error,
        }
    }};
}

impl Client {
    /// Lists the environment's jobs, all pages. An environment that AWS does not have has no jobs. A job without an id
    /// gets an empty id. A listed job of another environment or app is left out.
    ///
    /// After `MAX_PAGES` pages the rest is left out if the list runs from new to old. Otherwise the list is
    /// `Unavailable`: a list without the newest jobs must not pass for complete.
    pub async fn list_jobs(&self, app: &AppId, environment: &EnvironmentName) -> Result<Vec<JobSeen>, Failure> {
        let jobs = self.jobs(app, environment).await?;
        Ok(jobs.items)
    }

    /// Lists the jobs: all, or only the newest.
    async fn jobs(&self, app: &AppId, environment: &EnvironmentName) -> Result<Listed<JobSeen>, Failure> {
        const CALL: Call = LIST;
        let sdk = self.usable()?;
        let pages = paged(CALL, |token| async move {
            let page = send!(
                sdk.observer(),
                CALL,
                sdk.backend_reads
                    .list_backend_jobs()
                    .app_id(app.as_str())
                    .backend_environment_name(environment.as_str())
                    .max_results(25)
                    .set_next_token(token)
            )?;
            if page.jobs.is_none() && page.request_id().is_none() {
                return Err(unreadable(CALL, "the answer has no list of jobs"));
            }
            let jobs = page.jobs.unwrap_or_default().into_iter();
            Ok((jobs.map(|job| job_seen!(job)).collect(), page.next_token))
        });
        let Some(described) = absent_is_none(pages.await)? else {
            return Ok(Listed {
                items: Vec::new(),
                whole: true,
            });
        };
        let whole = described.whole;
        let times: Vec<_> = described
            .items
            .iter()
            .map(|job| millis(job.create_time.as_deref()))
            .collect();
        let newest_first = !times.is_empty() && times.is_sorted_by(|a, b| a.is_some() && b.is_some() && a >= b);
        if !whole && !newest_first {
            return Err(too_long(CALL));
        }
        // The SDK turns a missing name into an empty one.
        let is = |named: Option<&str>, asked: &str| named.is_none_or(|named| named.is_empty() || named == asked);
        // For an operation on two environments, AWS does not specify which of them its job names.
        let of_two = |job: &Described| {
            let mut two = Operation::ALL
                .iter()
                .filter(|operation| operation.is_of_two_environments());
            two.any(|operation| job.operation.as_deref() == Some(operation.name()))
        };
        let is_here = |job: &Described| {
            let environments = is(job.environment.as_deref(), environment.as_str()) || of_two(job);
            is(job.app.as_deref(), app.as_str()) && environments
        };
        let here = described.items.into_iter().filter(is_here);
        Ok(Listed {
            items: here.map(|job| seen(environment, job)).collect(),
            whole,
        })
    }

    /// Returns the job with this id, or `None` if AWS does not have it. An id that is not valid in the path of a
    /// request is searched in the list of jobs.
    pub async fn get_job(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<Option<JobSeen>, Failure> {
        if let Ok(id) = id.parse() {
            return self.get_job_by_path(app, environment, &id).await;
        }
        let Some(id) = job_id(Some(id.to_owned())) else {
            return Err(never("there is no job id to ask AWS for"));
        };
        let jobs = self.jobs(app, environment).await?;
        let there = jobs.items.into_iter().find(|job| job.id == id);
        if there.is_none() && !jobs.whole {
            return Err(too_long(LIST));
        }
        Ok(there)
    }

    async fn get_job_by_path(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
        id: &JobId,
    ) -> Result<Option<JobSeen>, Failure> {
        const CALL: Call = GET;
        let sdk = self.usable()?;
        let answer = send!(
            sdk.observer(),
            CALL,
            sdk.backend_reads
                .get_backend_job()
                .app_id(app.as_str())
                .backend_environment_name(environment.as_str())
                .job_id(id.as_str())
        );
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        let job = job_seen!(output);
        same(CALL, "appId", job.app.as_deref(), app.as_str())?;
        let named = job.environment.as_deref();
        same(CALL, "backendEnvironmentName", named, environment.as_str())?;
        same(CALL, "jobId", job_id(job.id.clone()).as_deref(), id.as_str())?;
        Ok(Some(JobSeen {
            id: id.as_str().to_owned(),
            ..seen(environment, job)
        }))
    }
}

struct Described {
    app: Option<String>,
    environment: Option<String>,
    id: Option<String>,
    operation: Option<String>,
    status: Option<String>,
    create_time: Option<String>,
    update_time: Option<String>,
    error: Option<String>,
}

/// Parses a time of Amplify's backend API: epoch milliseconds as text. Any other text is no time.
fn millis(text: Option<&str>) -> Option<Timestamp> {
    Timestamp::from_millisecond(text?.trim().parse().ok()?).ok()
}

fn seen(environment: &EnvironmentName, job: Described) -> JobSeen {
    JobSeen {
        id: job_id(job.id).unwrap_or_default(),
        environment: environment.as_str().to_owned(),
        operation: word(job.operation).unwrap_or_default(),
        status: word(job.status).unwrap_or_default(),
        create_time: millis(job.create_time.as_deref()),
        update_time: millis(job.update_time.as_deref()),
        exists: job.error.as_deref().is_some_and(says_exists),
        error: job_error(job.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_time_is_epoch_milliseconds_and_garbage_is_no_time() {
        let time = millis(Some("1617375907613")).unwrap();
        assert_eq!(time.to_string(), "2021-04-02T15:05:07.613Z");
        for garbage in [
            None,
            Some(""),
            Some("yesterday"),
            Some("1e99"),
            Some("99999999999999999999"),
        ] {
            assert_eq!(millis(garbage), None, "{garbage:?}");
        }
    }
}
