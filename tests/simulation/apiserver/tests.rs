//! Tests of the model itself, for behaviour that cannot be compared with a real API server: faults, time, actions of an
//! administrator, and that the same seed gives the same history.

use std::time::Duration;

use amplify_operator::api::{AmplifyBackend, FINALIZER};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap, events::v1::Event};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::watcher::{self, watcher},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{Named, Odds, Reach, Server, Verb, Withdrawn, server::Asked};

crate::trials! {
    the_same_seed_gives_the_same_history_byte_for_byte_and_another_gives_another,
    a_watcher_of_kube_sees_the_end_whatever_goes_wrong,
    a_request_whose_reply_is_lost_is_carried_out_and_one_that_is_dropped_is_not,
    a_request_that_has_arrived_is_carried_out_though_its_client_gave_up,
    refusals_by_chance_have_their_codes_and_are_not_carried_out,
    silence_lasts_until_the_client_gives_up,
    watches_lag_each_by_its_own_time_and_keep_their_order,
    a_cache_that_lags_answers_reads_of_version_zero_only,
    a_watch_ends_in_time_and_says_before_how_far_it_came,
    a_watch_from_before_a_compaction_is_refused_and_a_slow_one_ends,
    a_server_that_goes_down_breaks_everything_and_comes_back_with_its_objects,
    a_client_that_is_cut_off_fails_alone,
    rights_of_a_namespace_go_and_come_back,
    a_definition_that_is_removed_takes_its_objects_along_and_waits_for_finalizers,
    a_definition_that_is_hidden_keeps_its_objects,
    a_namespace_that_is_deleted_takes_nothing_new_and_goes_with_its_last_object,
    an_event_ends_after_an_hour_and_what_is_old_is_compacted,
    users_do_what_users_do,
    what_is_not_modelled_is_said_to_be,
}

const NAMESPACE: &str = "shop";
const DEV: Named<'_> = Named("amplifybackends", NAMESPACE, "dev");

/// Runs a test on tokio's paused clock, in one thread.
fn play<T>(seed: u64, test: impl AsyncFnOnce(Server) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(async {
        let server = Server::new(seed, "2026-01-01T00:00:00Z".parse().expect("a time"));
        server.users().create_namespace(NAMESPACE).expect("a namespace");
        test(server).await
    })
}

fn spec() -> Value {
    json!({ "spec": { "appId": "d1a2b3c4", "appName": "shop", "backendEnvironmentName": "dev" } })
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a ConfigMap")
}

fn config_maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, NAMESPACE)
}

fn backends(client: Client) -> Api<AmplifyBackend> {
    Api::namespaced(client, NAMESPACE)
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Runs two clients that write while everything fails, and returns the history.
async fn turmoil(server: Server) -> String {
    server.set_odds(Odds::rough());
    let work = |who: &'static str| {
        let api = config_maps(server.client(who, NAMESPACE));
        async move {
            for number in 0..40_u32 {
                let name = format!("c{}", number % 7);
                let patch = Patch::Merge(json!({ "data": { "by": who, "number": number.to_string() } }));
                let write = async {
                    match number % 5 {
                        0 => drop(api.create(&PostParams::default(), &config_map(&name)).await),
                        4 => drop(api.delete(&name, &DeleteParams::default()).await),
                        _ => drop(api.patch(&name, &PatchParams::default(), &patch).await),
                    }
                };
                let _ = timeout(Duration::from_secs(5), write).await;
            }
        }
    };
    tokio::join!(work("one"), work("two"));
    // Requests that are still on their way arrive.
    sleep(Duration::from_mins(1)).await;
    server.take_history().iter().map(|write| write.line() + "\n").collect()
}

fn the_same_seed_gives_the_same_history_byte_for_byte_and_another_gives_another() {
    let [first, again, other] = [1, 1, 2].map(|seed| play(seed, turmoil));
    assert!(first.lines().count() > 30, "{first}");
    assert_eq!(first, again);
    assert_ne!(first, other);
}

fn a_watcher_of_kube_sees_the_end_whatever_goes_wrong() {
    for seed in 0..20 {
        play(seed, async |server: Server| {
            // kube waits without end for a list that is never answered.
            let connection = server.connection("operator").giving_up_after(Duration::from_secs(75));
            let api = backends(Client::new(connection, NAMESPACE));
            let mut seen = std::collections::BTreeMap::new();
            let mut listed = Vec::new();
            let config = watcher::Config::default().timeout(60).page_size(2);
            let mut events = std::pin::pin!(kube::runtime::WatchStreamExt::default_backoff(watcher(api, config)));
            let users = server.users();
            server.set_odds(Odds::rough());
            let edits = async {
                for number in 0..60_u32 {
                    let name = format!("b{}", number % 5);
                    let of = Named("amplifybackends", NAMESPACE, &name);
                    if users.get(of).is_none() {
                        users.create(of, spec()).expect("created");
                    } else if number % 11 == 0 {
                        users.delete(of).expect("deleted");
                    } else {
                        users
                            .edit(of, |it| it["spec"]["suspend"] = (number % 2 == 0).into())
                            .expect("edited");
                    }
                    match number {
                        20 => server.compact(),
                        30 => server.go_down(),
                        33 => server.come_back(),
                        _ => {}
                    }
                    sleep(Duration::from_secs(7)).await;
                }
                server.set_odds(Odds::default());
                // A silent watch stays open for its timeout, and 5 s more.
                sleep(Duration::from_mins(3)).await;
            };
            let watch = async {
                while let Some(event) = events.next().await {
                    match event {
                        Ok(watcher::Event::Apply(it)) => drop(seen.insert(it.name_any(), it.resource_version())),
                        Ok(watcher::Event::Delete(it)) => drop(seen.remove(&it.name_any())),
                        Ok(watcher::Event::Init) => listed.clear(),
                        Ok(watcher::Event::InitApply(it)) => listed.push((it.name_any(), it.resource_version())),
                        Ok(watcher::Event::InitDone) => seen = listed.drain(..).collect(),
                        Err(_) => {}
                    }
                }
            };
            tokio::select! {
                biased;
                () = edits => {}
                () = watch => {}
            }
            let stored: std::collections::BTreeMap<_, _> = server
                .objects("amplifybackends")
                .iter()
                .map(|it| {
                    let text = |field: &str| it["metadata"][field].as_str().map(str::to_owned);
                    (text("name").unwrap_or_default(), text("resourceVersion"))
                })
                .collect();
            assert_eq!(seen, stored, "seed {seed}");
        });
    }
}

fn a_request_whose_reply_is_lost_is_carried_out_and_one_that_is_dropped_is_not() {
    for (odds, is_done) in [
        (
            Odds {
                lost: 1.0,
                ..Odds::default()
            },
            true,
        ),
        (
            Odds {
                dropped: 1.0,
                ..Odds::default()
            },
            false,
        ),
    ] {
        play(1, async |server: Server| {
            let api = config_maps(server.client("operator", NAMESPACE));
            server.set_odds(odds);
            let error = api
                .create(&PostParams::default(), &config_map("a"))
                .await
                .expect_err("no reply");
            assert_eq!(code(&error), None, "{error}");
            assert_eq!(
                server.users().get(Named("configmaps", NAMESPACE, "a")).is_some(),
                is_done
            );
        });
    }
}

fn a_request_that_has_arrived_is_carried_out_though_its_client_gave_up() {
    play(3, async |server: Server| {
        let api = config_maps(server.client("operator", NAMESPACE));
        server.set_odds(Odds {
            delayed: 1.0,
            longest_delay: Duration::from_secs(10),
            ..Odds::default()
        });
        for name in ["a", "b", "c", "d"] {
            let _ = timeout(
                Duration::from_millis(1),
                api.create(&PostParams::default(), &config_map(name)),
            )
            .await;
        }
        sleep(Duration::from_secs(10)).await;
        assert_eq!(server.objects("configmaps").len(), 4);
    });
}

fn refusals_by_chance_have_their_codes_and_are_not_carried_out() {
    for (odds, expected) in [
        (
            Odds {
                throttled: 1.0,
                ..Odds::default()
            },
            429,
        ),
        (
            Odds {
                failed: 1.0,
                ..Odds::default()
            },
            500,
        ),
        (
            Odds {
                unavailable: 1.0,
                ..Odds::default()
            },
            503,
        ),
        (
            Odds {
                timed_out: 1.0,
                ..Odds::default()
            },
            504,
        ),
    ] {
        play(1, async |server: Server| {
            let api = config_maps(server.client("operator", NAMESPACE));
            server.set_odds(odds);
            let mut done = 0;
            for number in 0..20 {
                let map = config_map(&format!("c{number}"));
                let error = api.create(&PostParams::default(), &map).await.expect_err("refused");
                assert_eq!(code(&error), Some(expected), "{error}");
                done = server.objects("configmaps").len();
            }
            // With 500 or 504 the request may have been carried out.
            assert_eq!(done > 0, matches!(expected, 500 | 504), "{expected}: {done}");
            assert!(done < 20);
        });
    }
}

fn silence_lasts_until_the_client_gives_up() {
    play(1, async |server: Server| {
        let api = config_maps(server.client("operator", NAMESPACE));
        server.set_odds(Odds {
            silent: 1.0,
            ..Odds::default()
        });
        let begun = Instant::now();
        assert!(timeout(Duration::from_hours(1), api.get("a")).await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_hours(1));
    });
}

/// Returns the times at which a watch shows the objects with these names.
async fn shown(api: Api<ConfigMap>, names: &[String]) -> Vec<Duration> {
    let events = api
        .watch(&WatchParams::default().timeout(600), "0")
        .await
        .expect("a watch");
    let mut events = std::pin::pin!(events);
    let begun = Instant::now();
    let mut times = Vec::new();
    while let Some(event) = events.try_next().await.expect("an event") {
        if let WatchEvent::Added(map) = event {
            assert_eq!(map.name_any(), names[times.len()]);
            times.push(begun.elapsed());
            if times.len() == names.len() {
                break;
            }
        }
    }
    times
}

fn watches_lag_each_by_its_own_time_and_keep_their_order() {
    play(5, async |server: Server| {
        server.set_odds(Odds {
            longest_lag: Duration::from_secs(30),
            ..Odds::default()
        });
        let names: Vec<_> = (0..20).map(|number| format!("c{number:02}")).collect();
        let write = async {
            for name in &names {
                sleep(Duration::from_secs(1)).await;
                server
                    .users()
                    .put_config_map(NAMESPACE, name, &json!({}))
                    .expect("made");
            }
        };
        let watch = |who| shown(config_maps(server.client(who, NAMESPACE)), &names);
        let ((), one, two) = tokio::join!(write, watch("one"), watch("two"));
        assert_ne!(one, two);
        assert!(
            one.iter().chain(&two).any(|time| *time > Duration::from_secs(20)),
            "{one:?} {two:?}"
        );
    });
}

fn a_cache_that_lags_answers_reads_of_version_zero_only() {
    play(1, async |server: Server| {
        let api = config_maps(server.client("operator", NAMESPACE));
        for number in 0..30 {
            server
                .users()
                .put_config_map(NAMESPACE, &format!("c{number}"), &json!({}))
                .expect("made");
        }
        server.set_odds(Odds {
            stale_revisions: 20,
            ..Odds::default()
        });
        let mut cached = Vec::new();
        for _ in 0..20 {
            cached.push(
                api.list(&ListParams::default().match_any())
                    .await
                    .expect("a list")
                    .items
                    .len(),
            );
            assert_eq!(api.list(&ListParams::default()).await.expect("a list").items.len(), 30);
        }
        assert!(
            cached.iter().any(|count| *count < 30) && cached.iter().all(|count| *count >= 10),
            "{cached:?}"
        );
    });
}

fn a_watch_ends_in_time_and_says_before_how_far_it_came() {
    play(1, async |server: Server| {
        let api = backends(server.client("operator", NAMESPACE));
        let events = api
            .watch(&WatchParams::default().timeout(60), "0")
            .await
            .expect("a watch");
        // A change of another resource also moves the watch's position.
        server.users().put_config_map(NAMESPACE, "a", &json!({})).expect("made");
        let begun = Instant::now();
        let events: Vec<_> = events.try_collect().await.expect("events");
        assert_eq!(begun.elapsed(), Duration::from_mins(1));
        let [WatchEvent::Bookmark(bookmark)] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!(bookmark.metadata.resource_version, "2");
    });
}

fn a_watch_from_before_a_compaction_is_refused_and_a_slow_one_ends() {
    play(1, async |server: Server| {
        let api = backends(server.client("operator", NAMESPACE));
        let created = server.users().create(DEV, spec()).expect("created");
        let version = created["metadata"]["resourceVersion"].as_str().expect("a version");
        let open = api
            .watch(&WatchParams::default().timeout(600), version)
            .await
            .expect("a watch");
        server.users().annotate(DEV, "x", Some("1")).expect("annotated");
        // The compaction comes before the watch has shown anything.
        server.compact();
        assert_eq!(open.try_collect::<Vec<_>>().await.expect("an end").len(), 0);
        let events = api.watch(&WatchParams::default(), "1").await.expect("a watch");
        let events: Vec<_> = events.try_collect().await.expect("events");
        let [WatchEvent::Error(status)] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
        let page = api.list(&ListParams::default().limit(1)).await.expect("a list");
        assert_eq!(page.items.len(), 1);
    });
}

fn a_server_that_goes_down_breaks_everything_and_comes_back_with_its_objects() {
    play(1, async |server: Server| {
        let api = backends(server.client("operator", NAMESPACE));
        server.users().create(DEV, spec()).expect("created");
        let events = api
            .watch(&WatchParams::default().timeout(600), "0")
            .await
            .expect("a watch");
        server.go_down();
        assert!(events.try_collect::<Vec<_>>().await.is_err());
        assert_eq!(code(&api.get("dev").await.expect_err("down")), None);
        server.come_back();
        api.get("dev").await.expect("it is there");
        let now = server.objects("amplifybackends")[0]["metadata"]["resourceVersion"].clone();
        let now = now.as_str().expect("a version");
        let events = api
            .watch(&WatchParams::default().timeout(600), now)
            .await
            .expect("a watch");
        server.break_connections();
        assert!(events.try_collect::<Vec<_>>().await.is_err());
        // The server's cache is empty after this.
        let events = api.watch(&WatchParams::default(), "1").await.expect("a watch");
        let events: Vec<_> = events.try_collect().await.expect("events");
        assert!(
            matches!(events.as_slice(), [WatchEvent::Error(status)] if status.code == 410),
            "{events:?}"
        );
    });
}

fn a_client_that_is_cut_off_fails_alone() {
    play(1, async |server: Server| {
        let [one, two] = ["one", "two"].map(|who| config_maps(server.client(who, NAMESPACE)));
        server.set_reach("one", Reach::Refused);
        assert_eq!(
            code(&one.list(&ListParams::default()).await.expect_err("cut off")),
            None
        );
        server.set_reach("one", Reach::Silent);
        assert!(
            timeout(Duration::from_mins(1), one.list(&ListParams::default()))
                .await
                .is_err()
        );
        two.list(&ListParams::default()).await.expect("a list");
        server.set_reach("one", Reach::Reached);
        one.list(&ListParams::default()).await.expect("a list");
        let asked = Asked {
            who: "one".to_owned(),
            verb: Verb::List,
            resource: "configmaps".to_owned(),
        };
        assert_eq!(server.requests()[&asked], 3);
    });
}

fn rights_of_a_namespace_go_and_come_back() {
    play(1, async |server: Server| {
        server.users().create_namespace("other").expect("a namespace");
        let client = server.client("operator", NAMESPACE);
        let there = config_maps(client.clone());
        let elsewhere: Api<ConfigMap> = Api::namespaced(client, "other");
        let rights = Withdrawn::of_namespace(NAMESPACE);
        server.withdraw(rights.clone());
        assert_eq!(code(&there.get("a").await.expect_err("forbidden")), Some(403));
        assert_eq!(code(&elsewhere.get("a").await.expect_err("not there")), Some(404));
        server.give_back(&rights);
        assert_eq!(code(&there.get("a").await.expect_err("not there")), Some(404));
    });
}

fn a_definition_that_is_removed_takes_its_objects_along_and_waits_for_finalizers() {
    play(1, async |server: Server| {
        let users = server.users();
        let api = backends(server.client("operator", NAMESPACE));
        users.create(DEV, spec()).expect("created");
        users
            .create(Named("amplifybackends", NAMESPACE, "qa"), spec())
            .expect("created");
        users.add_finalizer(DEV, FINALIZER).expect("added");
        let events = api
            .watch(&WatchParams::default().timeout(600), "0")
            .await
            .expect("a watch");
        server.remove_definition("amplifybackends");
        let refused = users
            .create(Named("amplifybackends", NAMESPACE, "new"), spec())
            .expect_err("refused");
        assert_eq!(refused.code, 405);
        assert!(
            api.get("dev")
                .await
                .expect("it waits")
                .metadata
                .deletion_timestamp
                .is_some()
        );
        users.strip_finalizer(DEV, FINALIZER).expect("stripped");
        assert_eq!(code(&api.get("dev").await.expect_err("no such path")), Some(404));
        events.try_collect::<Vec<_>>().await.expect("it ends");
        server.serve_definition("amplifybackends");
        assert_eq!(api.list(&ListParams::default()).await.expect("a list").items.len(), 0);
    });
}

fn a_definition_that_is_hidden_keeps_its_objects() {
    play(1, async |server: Server| {
        let api = backends(server.client("operator", NAMESPACE));
        server.users().create(DEV, spec()).expect("created");
        server.hide_definition("amplifybackends");
        let error = api
            .list_metadata(&ListParams::default().limit(1))
            .await
            .expect_err("not served");
        assert_eq!(code(&error), Some(404));
        server.serve_definition("amplifybackends");
        assert_eq!(
            api.list_metadata(&ListParams::default().limit(1))
                .await
                .expect("a list")
                .items
                .len(),
            1
        );
    });
}

fn a_namespace_that_is_deleted_takes_nothing_new_and_goes_with_its_last_object() {
    play(1, async |server: Server| {
        let users = server.users();
        users.create(DEV, spec()).expect("created");
        users.add_finalizer(DEV, FINALIZER).expect("added");
        users.delete_namespace(NAMESPACE);
        let refused = users.put_config_map(NAMESPACE, "a", &json!({})).expect_err("refused");
        assert_eq!(refused.code, 403);
        assert!(users.get(Named("namespaces", "", NAMESPACE)).is_some());
        users.strip_finalizer(DEV, FINALIZER).expect("stripped");
        assert!(users.get(Named("namespaces", "", NAMESPACE)).is_none());
        assert_eq!(
            users
                .put_config_map(NAMESPACE, "a", &json!({}))
                .expect_err("refused")
                .code,
            404
        );
    });
}

fn an_event_ends_after_an_hour_and_what_is_old_is_compacted() {
    play(1, async |server: Server| {
        let client = server.client("operator", NAMESPACE);
        let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
        let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
        let event = super::super::faithful::valid("events", "a")
            .to_string()
            .replace("$ns", NAMESPACE);
        let event: Event = serde_json::from_str(&event).expect("an Event");
        events.create(&PostParams::default(), &event).await.expect("created");
        sleep(Duration::from_mins(59)).await;
        events.get("a").await.expect("it is there");
        sleep(Duration::from_mins(2)).await;
        assert_eq!(code(&events.get("a").await.expect_err("gone")), Some(404));
        sleep(Duration::from_mins(11)).await;
        let _ = leases.get_opt("a").await;
        sleep(Duration::from_mins(11)).await;
        let old = config_maps(client)
            .watch(&WatchParams::default(), "1")
            .await
            .expect("a watch");
        let old: Vec<_> = old.try_collect().await.expect("events");
        assert!(
            matches!(old.as_slice(), [WatchEvent::Error(status)] if status.code == 410),
            "{old:?}"
        );
    });
}

fn users_do_what_users_do() {
    play(1, async |server: Server| {
        let users = server.users();
        let made = users.create(DEV, spec()).expect("created");
        assert_eq!(made["status"], json!({ "observedGeneration": -1 }));
        users
            .edit(DEV, |it| it["spec"]["suspend"] = true.into())
            .expect("edited");
        users
            .edit_status(DEV, |it| it["observedGeneration"] = 2.into())
            .expect("edited");
        assert_eq!(users.get(DEV).expect("it is there")["status"]["observedGeneration"], 2);
        users.wipe_status(DEV).expect("wiped");
        users.add_finalizer(DEV, "example.com/foreign").expect("added");
        users.delete(DEV).expect("deleted");
        server.step_clock(SignedDuration::from_hours(1));
        let last = users.strip_finalizer(DEV, "example.com/foreign").expect("stripped");
        assert_eq!(last["metadata"]["generation"], 3);
        assert!(users.get(DEV).is_none());
        let history = server.history();
        let verbs: Vec<_> = history.iter().map(|write| (write.verb, write.status)).collect();
        let expected = [
            ("create", false),
            ("create", false),
            ("update", false),
            ("update", true),
            ("update", true),
            ("update", false),
            ("delete", false),
            ("update", false),
        ];
        assert_eq!(verbs, expected);
        let last = history.last().expect("a write");
        assert_eq!(
            (&*last.who, &*last.path, last.before.is_some(), last.after.is_none()),
            ("user", "shop/dev", true, true)
        );
        assert_eq!(last.at, server.now());
        assert!(last.at > "2026-01-01T00:59:00Z".parse::<Timestamp>().expect("a time"));
    });
}

fn what_is_not_modelled_is_said_to_be() {
    play(1, async |server: Server| {
        let api = config_maps(server.client("operator", NAMESPACE));
        let selected = api
            .list(&ListParams::default().labels("a=b"))
            .await
            .expect_err("not modelled");
        assert_eq!(code(&selected), Some(501));
        let applied = Patch::Apply(json!({ "apiVersion": "v1", "kind": "ConfigMap" }));
        let applied = api
            .patch("a", &PatchParams::apply("x"), &applied)
            .await
            .expect_err("not modelled");
        assert_eq!(code(&applied), Some(501));
    });
}
