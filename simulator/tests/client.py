"""Calls a running simulator with boto3, one named case per run. Prints nothing if the case passes."""

import json
import os
import sys
import urllib.request
from contextlib import contextmanager
from datetime import datetime, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ONCE = Config(retries={"total_max_attempts": 1})
APP = "d123"
DEV = {"AppId": APP, "BackendEnvironmentName": "dev"}


def client(name, **credentials):
    return boto3.client(name, config=ONCE, **credentials)


def control(method, path, body=None):
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"] + "/_simulator" + path,
        method=method,
        data=json.dumps(body or {}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@contextmanager
def refused(code, status, text=""):
    try:
        yield
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error
        assert len(error.response["ResponseMetadata"]["RequestId"]) == 36, error.response
        assert text in error.response["Error"]["Message"], error
        # Client code distinguishes the modelled exceptions by class.
        if code.endswith("Exception") and hasattr(client("amplifybackend").exceptions, code):
            assert type(error).__name__ == code, type(error)
    else:
        raise AssertionError(f"not refused with {code}")


def finish_jobs():
    control("POST", "/clock/advance", {"millis": 60_000})


def backends():
    amplifybackend = client("amplifybackend")
    started = amplifybackend.create_backend(AppName="shop", ResourceConfig={}, ResourceName="r", **DEV)
    del started["ResponseMetadata"]
    job = started.pop("JobId")
    assert started == {**DEV, "Operation": "CreateBackend", "Status": "RUNNING"}, started
    with refused("NotFoundException", 404, "BackendEnvironment dev does not exist."):
        amplifybackend.get_backend(**DEV)
    with refused("BadRequestException", 400, f"already a pending job for the requested appId: {APP} and backendEnvironmentName: dev, wait"):
        amplifybackend.delete_backend(**DEV)
    running = amplifybackend.get_backend_job(JobId=job, **DEV)
    assert running["Status"] == "RUNNING", running
    assert len(running["CreateTime"]) == 13 and running["CreateTime"].isdigit(), running
    finish_jobs()
    done = amplifybackend.get_backend_job(JobId=job, **DEV)
    assert done["Status"] == "COMPLETED" and "Error" not in done, done
    assert int(done["UpdateTime"]) - int(done["CreateTime"]) == 5000, done
    backend = amplifybackend.get_backend(**DEV)
    assert backend["AppName"] == "shop" and backend["BackendEnvironmentName"] == "dev", backend
    assert json.loads(backend["AmplifyMetaConfig"])["providers"], backend
    with refused("BadRequestException", 400, "dev already exists"):
        amplifybackend.create_backend(AppName="shop", **DEV)

    cloned = amplifybackend.clone_backend(TargetEnvironmentName="qa", **DEV)
    assert (cloned["BackendEnvironmentName"], cloned["Operation"]) == ("qa", "CloneBackend"), cloned
    for environment in ("dev", "qa"):
        with refused("BadRequestException", 400, f"backendEnvironmentName: {environment}, wait"):
            amplifybackend.delete_backend(AppId=APP, BackendEnvironmentName=environment)
    finish_jobs()
    assert amplifybackend.get_backend(AppId=APP)["BackendEnvironmentList"] == ["dev", "qa"]

    removed = amplifybackend.delete_backend(**DEV)
    assert removed["Operation"] == "DeleteBackend", removed
    assert amplifybackend.get_backend(**DEV)["AppName"] == "shop"
    finish_jobs()
    with refused("NotFoundException", 404):
        amplifybackend.get_backend(**DEV)
    with refused("NotFoundException", 404):
        client("amplify").get_backend_environment(appId=APP, environmentName="dev")
    with refused("NotFoundException", 404):
        amplifybackend.delete_backend(**DEV)
    with refused("NotFoundException", 404, "App d999 not found."):
        amplifybackend.create_backend(AppId="d999", AppName="x", BackendEnvironmentName="dev")
    assert amplifybackend.remove_all_backends(AppId=APP)["Operation"] == "RemoveAllBackends"
    assert amplifybackend.get_backend(AppId=APP)["BackendEnvironmentList"] == []


def apis():
    amplifybackend = client("amplifybackend")
    control("PUT", "/backends", {"at": {"app": APP, "environment": "dev"}, "appName": "shop"})
    config = {
        "ApiName": "shop",
        "Service": "AppSync",
        "TransformSchema": "type A @model { id: ID! }",
        "ConflictResolution": {"ResolutionStrategy": "AUTOMERGE"},
        "DefaultAuthType": {"Mode": "API_KEY", "Settings": {"Description": "d", "ExpirationTime": 7.5}},
        "AdditionalAuthTypes": [
            {"Mode": "AMAZON_COGNITO_USER_POOLS", "Settings": {"CognitoUserPoolId": "p"}},
            {
                "Mode": "OPENID_CONNECT",
                "Settings": {
                    "OpenIDAuthTTL": "1",
                    "OpenIDClientId": "c",
                    "OpenIDIatTTL": "2",
                    "OpenIDIssueURL": "https://issuer.example",
                    "OpenIDProviderName": "n",
                },
            },
        ],
    }
    named = {**DEV, "ResourceName": "api"}
    assert amplifybackend.create_backend_api(ResourceConfig=config, **named)["Operation"] == "CreateBackendAPI"
    with refused("NotFoundException", 404, "API api does not exist."):
        amplifybackend.get_backend_api(**named)
    finish_jobs()
    read = amplifybackend.get_backend_api(**named)
    assert read["ResourceConfig"] == config and read["ResourceName"] == "api", read
    meta = json.loads(amplifybackend.get_backend(**DEV)["AmplifyMetaConfig"])
    assert meta["api"]["api"]["service"] == "AppSync" and list(meta["api"]) == ["api"], meta
    dev = {"at": {"app": APP, "environment": "dev"}}
    control("PUT", "/backends/meta-config", {**dev, "text": "no JSON"})
    assert amplifybackend.get_backend(**DEV)["AmplifyMetaConfig"] == "no JSON"
    control("PUT", "/backends/meta-config", {**dev, "text": ""})
    assert "AmplifyMetaConfig" not in amplifybackend.get_backend(**DEV)
    with refused("BadRequestException", 400, "already exists"):
        amplifybackend.create_backend_api(ResourceConfig=config, **named)

    control("PATCH", "/settings", {"echo": {"trailingNewline": True, "omit": ["service"], "defaults": False}})
    read = amplifybackend.get_backend_api(**named)["ResourceConfig"]
    assert read["TransformSchema"].endswith("}\n") and "Service" not in read, read
    control("PATCH", "/settings", {"echo": {}})

    changed = amplifybackend.update_backend_api(ResourceConfig={"TransformSchema": "type B"}, **named)
    assert changed["Operation"] == "UpdateBackendAPI", changed
    finish_jobs()
    expected = {**config, "TransformSchema": "type B"}
    assert amplifybackend.get_backend_api(**named)["ResourceConfig"] == expected

    amplifybackend.clone_backend(TargetEnvironmentName="qa", **DEV)
    finish_jobs()
    copy = amplifybackend.get_backend_api(AppId=APP, BackendEnvironmentName="qa", ResourceName="api")
    assert copy["ResourceConfig"] == expected, copy

    assert amplifybackend.delete_backend_api(**named)["Operation"] == "DeleteBackendAPI"
    finish_jobs()
    for operation in (amplifybackend.get_backend_api, amplifybackend.update_backend_api, amplifybackend.delete_backend_api):
        with refused("NotFoundException", 404):
            operation(**named)
    with refused("NotFoundException", 404, "BackendEnvironment none does not exist."):
        amplifybackend.create_backend_api(
            AppId=APP, BackendEnvironmentName="none", ResourceName="api", ResourceConfig={}
        )


def storages():
    amplifybackend = client("amplifybackend")
    dev = {"at": {"app": APP, "environment": "dev"}}
    control("PUT", "/backends", {**dev, "appName": "shop"})
    named = {**DEV, "ResourceName": "photos"}
    config = {
        "BucketName": "photos",
        "ServiceName": "S3",
        "Permissions": {"Authenticated": ["READ", "DELETE"], "UnAuthenticated": ["READ"]},
    }
    with refused("BadRequestException", 400, "without an existing auth resource"):
        amplifybackend.create_backend_storage(ResourceConfig=config, **named)
    control("PUT", "/resources", {**dev, "category": "auth", "resource": "users"})
    created = amplifybackend.create_backend_storage(ResourceConfig=config, **named)
    assert "Operation" not in created and created["JobId"] and created["Status"], created
    finish_jobs()
    read = amplifybackend.get_backend_storage(**named)["ResourceConfig"]
    assert read["Permissions"] == config["Permissions"] and read["Imported"] is False, read
    assert read["BucketName"].startswith("photos") and read["BucketName"].endswith("-dev"), read
    with refused("BadRequestException", 400, "already added"):
        amplifybackend.create_backend_storage(ResourceConfig=config, **{**named, "ResourceName": "videos"})
    with refused("NotFoundException", 404):
        amplifybackend.get_backend_storage(**{**named, "ResourceName": "videos"})
    control("PATCH", "/settings", {"anyNameShowsTheOnlyOne": True, "crowded": "failedJob"})
    other = amplifybackend.get_backend_storage(**{**named, "ResourceName": "videos"})
    assert other["ResourceName"] == "photos", other
    failing = amplifybackend.create_backend_storage(ResourceConfig=config, **{**named, "ResourceName": "videos"})
    finish_jobs()
    job = amplifybackend.get_backend_job(JobId=failing["JobId"], **DEV)
    assert job["Status"] == "FAILED" and "already added" in job["Error"], job
    control("PATCH", "/settings", {"anyNameShowsTheOnlyOne": False, "crowded": "refused"})

    # Guests that an update leaves out lose all permissions.
    changed = {"ServiceName": "S3", "Permissions": {"Authenticated": ["READ"]}}
    amplifybackend.update_backend_storage(ResourceConfig=changed, **named)
    finish_jobs()
    read = amplifybackend.get_backend_storage(**named)["ResourceConfig"]
    assert read["Permissions"] == changed["Permissions"], read
    meta = json.loads(amplifybackend.get_backend(**DEV)["AmplifyMetaConfig"])
    assert meta["storage"]["photos"]["service"] == "S3" and meta["auth"]["users"]["service"] == "Cognito", meta

    amplifybackend.delete_backend_storage(ServiceName="S3", **named)
    finish_jobs()
    imported = amplifybackend.import_backend_storage(ServiceName="S3", BucketName="there-already", **DEV)
    assert "Operation" not in imported, imported
    finish_jobs()
    meta = json.loads(amplifybackend.get_backend(**DEV)["AmplifyMetaConfig"])
    [(name, storage)] = meta["storage"].items()
    assert storage["serviceType"] == "imported" and storage["output"]["BucketName"] == "there-already", meta
    read = amplifybackend.get_backend_storage(**{**named, "ResourceName": name})["ResourceConfig"]
    assert read["Imported"] is True and "Permissions" not in read, read
    with refused("BadRequestException", 400, "not supported"):
        amplifybackend.update_backend_storage(ResourceConfig=changed, **{**named, "ResourceName": name})


def models():
    """Checks that every row of the simulator's table agrees with the service models."""
    import botocore.session

    def described(shape):
        if shape.type_name == "structure":
            members = {}
            for name, member in shape.members.items():
                wire = member.serialization.get("name", name)
                members[wire] = {
                    "required": name in shape.required_members,
                    "query": member.serialization.get("location") == "querystring",
                    "kind": described(member),
                    "in path": member.serialization.get("location") == "uri",
                }
            return {"members": members}
        if shape.type_name == "list":
            return {"list": described(shape.member)}
        if shape.type_name == "string":
            return {"words": shape.enum} if shape.enum else "string"
        return {"integer": "integer", "double": "number", "boolean": "boolean"}[shape.type_name]

    def bare(kind):
        if isinstance(kind, dict) and "members" in kind:
            return {
                "members": {
                    name: {**{key: value for key, value in member.items() if key != "in path"}, "kind": bare(member["kind"])}
                    for name, member in kind["members"].items()
                    if not member.get("in path")
                }
            }
        if isinstance(kind, dict) and "list" in kind:
            return {"list": bare(kind["list"])}
        return kind

    session = botocore.session.get_session()
    with open(os.environ["SIMULATOR_TABLE"]) as file:
        table = json.load(file)
    assert len(table) > 25, table
    for row in table:
        operation = session.get_service_model(row["service"]).operation_model(row["name"])
        there = described(operation.input_shape)
        path = operation.http["requestUri"]
        in_path = [name for name, member in there["members"].items() if member["in path"]]
        assert (row["method"], row["path"]) == (operation.http["method"], path), (row, operation.http)
        assert sorted(in_path) == sorted(name[1:-1] for name in path.split("/") if name.startswith("{")), (row, path)
        assert bare({"members": row["members"]}) == bare(there), (row, bare(there))


def jobs():
    amplifybackend = client("amplifybackend")
    assert amplifybackend.list_backend_jobs(**DEV)["Jobs"] == []
    ids = []
    for _ in range(7):
        ids.append(control("POST", "/jobs", {"at": {"app": APP, "environment": "dev"}, "operation": "UpdateBackendAPI"})["jobId"])
        control("POST", "/jobs/end", {"at": {"app": APP, "environment": "dev"}})
    ids.reverse()
    pages = list(amplifybackend.get_paginator("list_backend_jobs").paginate(PaginationConfig={"PageSize": 3}, **DEV))
    assert [len(page["Jobs"]) for page in pages] == [3, 3, 1], pages
    assert [job["JobId"] for page in pages for job in page["Jobs"]] == ids
    first = pages[0]["Jobs"][0]
    assert first["CreateTime"].isdigit() and first["Status"] == "COMPLETED", first

    control("PATCH", "/settings", {"pageSize": 1, "oldestJobFirst": True})
    pages = list(amplifybackend.get_paginator("list_backend_jobs").paginate(**DEV))
    assert [job["JobId"] for page in pages for job in page["Jobs"]] == ids[::-1] and len(pages) == 7
    assert len(amplifybackend.list_backend_jobs(JobId=ids[3], **DEV)["Jobs"]) == 1
    assert amplifybackend.list_backend_jobs(Operation="DeleteBackend", **DEV)["Jobs"] == []
    assert amplifybackend.list_backend_jobs(Status="RUNNING", **DEV)["Jobs"] == []

    control("PATCH", "/settings", {"repeatPageToken": True})
    once = amplifybackend.list_backend_jobs(**DEV)
    again = amplifybackend.list_backend_jobs(NextToken=once["NextToken"], **DEV)
    assert (once["Jobs"], once["NextToken"]) == (again["Jobs"], again["NextToken"])

    with refused("NotFoundException", 404, "Job none does not exist."):
        amplifybackend.get_backend_job(JobId="none", **DEV)
    with refused("BadRequestException", 400, "nextToken"):
        amplifybackend.list_backend_jobs(NextToken="bogus", **DEV)


def environments():
    amplify = client("amplify")
    before = datetime.now(timezone.utc)
    made = amplify.create_backend_environment(
        appId=APP, environmentName="e00", stackName="stack", deploymentArtifacts="bucket"
    )["backendEnvironment"]
    arn = f"arn:aws:amplify:{os.environ['AWS_REGION']}:123456789012:apps/{APP}/backendenvironments/e00"
    assert made["backendEnvironmentArn"] == arn, made
    assert (made["environmentName"], made["stackName"], made["deploymentArtifacts"]) == ("e00", "stack", "bucket")
    assert abs((made["createTime"] - before).total_seconds()) < 5, made
    assert amplify.get_backend_environment(appId=APP, environmentName="e00")["backendEnvironment"] == made
    with refused("BadRequestException", 400, "e00 already exists"):
        amplify.create_backend_environment(appId=APP, environmentName="e00")
    bare = amplify.create_backend_environment(appId=APP, environmentName="e01")["backendEnvironment"]
    assert "stackName" not in bare and "deploymentArtifacts" not in bare, bare
    for number in range(2, 7):
        amplify.create_backend_environment(appId=APP, environmentName=f"e{number:02}")

    names, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        page = amplify.list_backend_environments(appId=APP, maxResults=3, **more)
        assert len(page["backendEnvironments"]) <= 3
        names += [environment["environmentName"] for environment in page["backendEnvironments"]]
        token = page.get("nextToken")
        if not token:
            break
    assert names == [f"e{number:02}" for number in range(7)], names
    only = amplify.list_backend_environments(appId=APP, environmentName="e03")["backendEnvironments"]
    assert [environment["environmentName"] for environment in only] == ["e03"], only

    # A name that needs escaping in the path must be returned unchanged.
    odd = "a/b ü%2F+?"
    amplify.create_backend_environment(appId=APP, environmentName=odd)
    read = amplify.get_backend_environment(appId=APP, environmentName=odd)["backendEnvironment"]
    assert read["environmentName"] == odd, read
    assert amplify.delete_backend_environment(appId=APP, environmentName=odd)["backendEnvironment"] == read
    with refused("NotFoundException", 404, "does not exist"):
        amplify.delete_backend_environment(appId=APP, environmentName=odd)
    with refused("NotFoundException", 404):
        amplify.create_backend_environment(appId="d999", environmentName="x")


def apps():
    amplify = client("amplify")
    for number in range(3):
        control("PUT", "/apps", {"appId": f"d20{number}", "name": f"app {number}"})
    app = amplify.get_app(appId=APP)["app"]
    assert (app["appId"], app["name"], app["platform"]) == (APP, "shop", "WEB"), app
    assert app["createTime"].tzinfo is not None, app
    pages = list(amplify.get_paginator("list_apps").paginate(PaginationConfig={"PageSize": 2}))
    assert [[app["appId"] for app in page["apps"]] for page in pages] == [[APP, "d200"], ["d201", "d202"]], pages
    assert amplify.delete_app(appId="d201")["app"]["appId"] == "d201"
    with refused("NotFoundException", 404):
        amplify.get_app(appId="d201")
    # Another region has apps of its own.
    assert boto3.client("amplify", region_name="us-west-2").list_apps()["apps"] == []


def sts():
    caller = client("sts").get_caller_identity()
    assert caller["Account"] == "123456789012", caller
    role = "arn:aws:iam::222222222222:role/team/deployer"
    with refused("AccessDenied", 403, "not authorized to perform: sts:AssumeRole"):
        client("sts").assume_role(RoleArn=role, RoleSessionName="test")
    issued = client("sts").assume_role(RoleArn=role, RoleSessionName="test", ExternalId="secret", DurationSeconds=900)
    credentials = issued["Credentials"]
    left = (credentials["Expiration"] - datetime.now(timezone.utc)).total_seconds()
    assert 890 < left <= 901, left
    session = {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }
    assumed = client("sts", **session).get_caller_identity()
    assert assumed["Arn"] == "arn:aws:sts::222222222222:assumed-role/deployer/test", assumed
    # The other account has apps of its own.
    control("PUT", "/apps", {"account": "222222222222", "appId": APP, "name": "theirs"})
    assert client("amplify", **session).get_app(appId=APP)["app"]["name"] == "theirs"
    assert client("amplify").get_app(appId=APP)["app"]["name"] == "shop"
    with refused("UnrecognizedClientException", 403):
        client("amplify", **{**session, "aws_session_token": "other"}).get_app(appId=APP)
    control("POST", "/sessions/expire")
    with refused("ExpiredTokenException", 403):
        client("amplify", **session).get_app(appId=APP)
    with refused("ExpiredToken", 403):
        client("sts", **session).get_caller_identity()


def signatures():
    wrong = {"aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": "wrong"}
    with refused("InvalidSignatureException", 403):
        client("amplifybackend", **wrong).get_backend(AppId=APP)
    with refused("SignatureDoesNotMatch", 403):
        client("sts", **wrong).get_caller_identity()
    unknown = {"aws_access_key_id": "AKIAUNKNOWN", "aws_secret_access_key": "wrong"}
    with refused("UnrecognizedClientException", 403):
        client("amplify", **unknown).list_apps()
    with refused("InvalidClientTokenId", 403):
        client("sts", **unknown).get_caller_identity()


def validation():
    unchecked = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    amplifybackend = boto3.client("amplifybackend", config=unchecked)
    amplify = boto3.client("amplify", config=unchecked)
    for member in ("AppId", "AppName", "BackendEnvironmentName"):
        parameters = {"AppId": APP, "AppName": "shop", "BackendEnvironmentName": "dev"}
        del parameters[member]
        with refused("BadRequestException", 400, member[0].lower() + member[1:]):
            amplifybackend.create_backend(**parameters)
    with refused("BadRequestException", 400, "targetEnvironmentName"):
        amplifybackend.clone_backend(**DEV)
    with refused("BadRequestException", 400, "resourceConfig"):
        amplifybackend.create_backend_api(ResourceName="api", **DEV)
    with refused("BadRequestException", 400, "resourceName"):
        amplifybackend.get_backend_api(**DEV)
    with refused("BadRequestException", 400, "mode"):
        amplifybackend.create_backend_api(
            ResourceName="api", ResourceConfig={"DefaultAuthType": {"Mode": "PASSWORD"}}, **DEV
        )
    with refused("BadRequestException", 400, "maxResults"):
        amplifybackend.list_backend_jobs(MaxResults=26, **DEV)
    with refused("BadRequestException", 400, "environmentName"):
        amplify.create_backend_environment(appId=APP)
    with refused("BadRequestException", 400, "stackName"):
        amplify.create_backend_environment(appId=APP, environmentName="e", stackName="s" * 256)
    with refused("BadRequestException", 400, "appId"):
        amplify.create_backend_environment(appId="x123", environmentName="e")
    with refused("BadRequestException", 400, "maxResults"):
        amplify.list_backend_environments(appId=APP, maxResults=51)
    with refused("UnknownOperationException", 404):
        amplifybackend.get_backend_api_models(ResourceName="api", **DEV)


def dots():
    client("amplifybackend").delete_backend(AppId=APP, BackendEnvironmentName="..")
    client("amplify").delete_backend_environment(appId=APP, environmentName="..")
    with refused("NotFoundException", 404):
        client("amplify").get_app(appId=APP)


def faults():
    amplifybackend = client("amplifybackend")
    for action, code, status in [
        ({"type": "tooManyRequests"}, "TooManyRequestsException", 429),
        ({"type": "limitExceeded"}, "LimitExceededException", 429),
        ({"type": "quotaExceeded"}, "LimitExceededException", 429),
        ({"type": "rateExceeded"}, "BadRequestException", 400),
        ({"type": "serverError", "status": 500}, "InternalFailureException", 500),
        ({"type": "serverError", "status": 503}, "ServiceUnavailableException", 503),
        ({"type": "serverError", "status": 504}, "GatewayTimeoutException", 504),
        ({"type": "pendingJob"}, "BadRequestException", 400),
        ({"type": "pendingJob", "validation": True}, "ValidationException", 400),
        ({"type": "expiredToken"}, "ExpiredTokenException", 403),
        ({"type": "accessDenied"}, "AccessDeniedException", 403),
        ({"type": "respond", "status": 418, "code": "Teapot", "message": "short"}, "Teapot", 418),
    ]:
        control("POST", "/faults", {"match": {"operation": "GetBackend"}, "action": action})
        with refused(code, status):
            amplifybackend.get_backend(AppId=APP)
        assert amplifybackend.get_backend(AppId=APP)["AppName"] == "shop"
    control("POST", "/faults", {"match": {"service": "sts"}, "action": {"type": "tooManyRequests"}})
    with refused("Throttling", 429):
        client("sts").get_caller_identity()
    assert control("GET", "/faults") == {"faults": [], "jobFaults": []}


globals()[sys.argv[1]]()
