"""Checks that the printed MutatingAdmissionPolicy makes the same Pods as the webhook: check-policy.py PROGRAM

There is no API server here. This evaluates the policy's CEL with Google's own implementation (type checked, as the
API server does it), and does by itself what lies around it: rules, selectors, one mutation after the other, the JSON
patch. The cases are those of testdata/admission, whose answers are the webhook's.
"""

import copy
import json
import pathlib
import subprocess
import sys

import yaml
from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, struct_pb2

PROGRAM = sys.argv[1]
CASES = pathlib.Path("testdata/admission")


def cel_environment():
    """What a mutation sees: the variables, the type JSONPatch, comprehensions of two variables."""
    file = descriptor_pb2.FileDescriptorProto(name="jsonpatch.proto", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    message = file.message_type.add(name="JSONPatch")
    for number, name in enumerate(["op", "path", "from"], 1):
        message.field.add(name=name, number=number, type=9, label=1)
    message.field.add(name="value", number=4, type=11, label=1, type_name=".google.protobuf.Value")
    pool = descriptor_pool.DescriptorPool()
    struct = descriptor_pb2.FileDescriptorProto()
    struct_pb2.DESCRIPTOR.CopyToProto(struct)
    pool.Add(struct)
    pool.Add(file)
    config = cel.NewEnvConfigFromYaml("name: mutation\nextensions:\n- name: two-var-comprehensions\n")
    names = ["object", "oldObject", "request", "variables"]
    return cel.NewEnv(pool, variables={name: cel.Type.DYN for name in names}, config=config)


ENVIRONMENT = cel_environment()


def evaluate(expression, returns, data):
    compiled = ENVIRONMENT.compile(expression)
    # As in the API server: a mutation that might give something else is refused.
    if returns and compiled.return_type().name() != returns:
        raise TypeError(f"{compiled.return_type().name()} instead of {returns}: {expression}")
    value = compiled.eval(data=data)
    if value.type() == cel.Type.ERROR:
        raise ValueError(f"{value.plain_value()}: {expression}")
    return value.plain_value()


def decoded(value):
    """As CEL sees it, after the API server has decoded it: nothing that is null or an empty list."""
    if isinstance(value, dict):
        fields = {key: decoded(field) for key, field in value.items()}
        return {key: field for key, field in fields.items() if field is not None and field != []}
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


def apply(pod, operations):
    """The Pod after a JSON patch of `add` and `replace` operations, and those with `-` resolved."""
    pod, resolved = copy.deepcopy(pod), []
    for operation in operations:
        assert set(operation) == {"op", "path", "value"} and operation["op"] in ("add", "replace"), operation
        *way, last = operation["path"].split("/")[1:]
        target = pod
        for step in way:
            target = target[int(step) if isinstance(target, list) else step]
        if operation["op"] == "replace":
            assert isinstance(target, list), operation
            target[int(last)] = operation["value"]
        elif isinstance(target, list):
            index = len(target) if last == "-" else int(last)
            assert index <= len(target), operation
            target.insert(index, operation["value"])
            operation = {**operation, "path": "/".join(["", *way, str(index)])}
        else:
            target[last] = operation["value"]
        resolved.append(operation)
    return pod, resolved


def selected(selector, labels):
    for expression in selector["matchExpressions"]:
        assert expression["operator"] == "NotIn", expression
        if labels.get(expression["key"]) in expression["values"]:
            return False
    return True


def matches(policy, request):
    """Whether the API server would ask this policy at all."""
    constraints = policy["matchConstraints"]
    if request.get("kind") != {"group": "", "version": "v1", "kind": "Pod"}:
        return False
    resource = "/".join(filter(None, ["pods", request.get("subResource")]))
    if not any(
        request["operation"] in rule["operations"] and resource in rule["resources"]
        for rule in constraints["resourceRules"]
    ):
        return False
    objects = [request[key] for key in ("object", "oldObject") if request.get(key)]
    labels = [pod.get("metadata", {}).get("labels", {}) for pod in objects]
    return any(selected(constraints["objectSelector"], of) for of in labels)


def mutate(policy, request):
    """The Pod that comes of a request, and the operations that made it so."""
    request, all_operations = {"oldObject": None, **request}, []
    if not matches(policy, request):
        return request["object"], []
    data = {"object": request["object"], "oldObject": request["oldObject"], "request": request, "variables": {}}
    if not all(evaluate(condition["expression"], "BOOL", data) for condition in policy["matchConditions"]):
        return request["object"], []
    for mutation in policy["mutations"]:
        assert mutation["patchType"] == "JSONPatch"
        data["variables"] = {}
        for variable in policy["variables"]:
            data["variables"][variable["name"]] = evaluate(variable["expression"], None, data)
        operations = evaluate(mutation["jsonPatch"]["expression"], "LIST<JSONPatch>", data)
        operations = [json_format.MessageToDict(operation) for operation in operations]
        data["object"], operations = apply(data["object"], operations)
        all_operations += operations
    return data["object"], all_operations


def difference(policy, case):
    """What the policy does otherwise than the webhook; None for a request that no API server sends."""
    request = json.loads((case / "review.json").read_text())["request"]
    answer = json.loads((case / "answer.json").read_text())["response"]
    if "warnings" in answer or not isinstance(request.get("object"), dict):
        return None
    as_sent = request["object"]
    expected, wanted = apply(as_sent, answer.get("patch", []))
    expected = {"metadata": {}, **decoded(expected)}
    request = {key: decoded(value) for key, value in request.items()}
    for pod in filter(None, [request["object"], request.get("oldObject")]):
        # A struct, not a pointer, so it is always there.
        pod.setdefault("metadata", {})
    pod, operations = mutate(policy, request)
    if pod != expected:
        return f"{json.dumps(pod)} instead of {json.dumps(expected)}"
    if len(policy["mutations"]) == 1 and as_sent == request["object"] and operations != wanted:
        return f"{operations} instead of {wanted}"
    again, operations = mutate(policy, {**request, "object": pod})
    if operations:
        return f"a second run gives {operations}"
    return ""


def printed_policy(case):
    """None where it is refused, since everybody would see a password in it."""
    args = (case / "args").read_text().split() if (case / "args").exists() else []
    printed = subprocess.run(
        [PROGRAM, "manifest", "policy", "--apiserver-fqdn=foo.bar.", *args], check=False, capture_output=True
    )
    if printed.returncode == 2 and b"everybody in the cluster can read a policy" in printed.stderr:
        return None
    assert printed.returncode == 0, printed.stderr
    policy, binding = yaml.safe_load_all(printed.stdout)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    return policy["spec"]


def main():
    compared, refused, failures, seen = [], [], [], set()
    # A check that lets everything through is none: each of these spoils the policy, and must be found.
    spoilt = {
        "/env/-": "/env/0",
        '"foo.bar."': '"foo.bar"',
        "!(c.name in variables.oldNames)": "true",
        "!(has(c.env) && c.env.exists": "!(has(c.env) && !c.env.exists",
        "variables.initContainers.": "variables.containers.",
        '!has(object.metadata.annotations) || !("kube': '!has(object.metadata.annotations) || ("kube',
        "disable": "disabled",
        'request.operation == "CREATE" && ': "",
        "!variables.excluded && ": "",
        "(kube-system)": "(kube-sys)",
        "kube-.*": "kube-",
        "a\\\\.c": "a.c",
        "dex-k8s-.)": "dex-k8s-b)",
        "^(capi": "(capi",
        '"exclude"': '"include"',
        "? object.metadata.name\n": "? object.metadata.generateName\n",
        "same[same.size() - 1]": "same[0]",
        "at[at.size() - 1]": "at[0]",
        "!has(last.valueFrom)": "true",
        "!has(last.value) || ": "",
        '"key": dyn("https")': '"key": dyn("http")',
    }
    for case in sorted(CASES.iterdir()):
        policy = printed_policy(case)
        if policy is None:
            refused.append(case.name)
            continue
        found = difference(policy, case)
        if found is None:
            continue
        compared.append(case.name)
        if found:
            failures.append(f"{case.name}: {found}")
        for right, wrong in spoilt.items():
            text, right_there = json.dumps(policy), json.dumps(right)[1:-1]
            other = json.loads(text.replace(right_there, json.dumps(wrong)[1:-1]))
            try:
                if difference(other, case):
                    seen.add(right)
            except (AssertionError, IndexError, KeyError, ValueError):
                # A patch that can't be applied, or an expression that gives none.
                seen.add(right)
    if missed := set(spoilt) - seen:
        failures.append(f"a policy with one of these spoilt was not found out: {missed}")
    if refused != ["proxy-seed"]:
        failures.append(f"refused for their passwords: {refused}")
    if len(compared) < 50:
        failures.append(f"only {len(compared)} cases")
    if failures:
        sys.exit("\n".join(failures))
    print(f"the policy makes the webhook's Pods in {len(compared)} cases")


main()
