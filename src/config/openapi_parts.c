/* What no schema table tells: the shapes of answers that are no resources, parameters, headers, examples. */
#include "config/openapi_private.h"

/* clang-format off */
const char openapi_fixed_schemas[] = OPENAPI_JSON({
  "Problem": {
    "description": "RFC 9457, and which of our reasons it is.",
    "type": "object", "required": ["type", "title", "status"], "additionalProperties": false,
    "properties": {
      "type": {"type": "string"},
      "title": {"type": "string"},
      "status": {"type": "integer", "minimum": 400, "maximum": 599},
      "detail": {"type": "string"},
      "reason": {"type": "string", "description": "For programs: does not change with the words.", "examples": ["in-use"]},
      "hint": {"type": "string", "description": "The mend."},
      "requestId": {"type": "string"},
      "rule": {"type": "string"},
      "errors": {"type": "array", "description": "All mistakes of a body at once.", "items": {"$ref": "#/components/schemas/ProblemError"}},
      "users": {"type": "array", "description": "What uses it, or has the name.", "items": {"$ref": "#/components/schemas/ResourceName"}}
    }
  },
  "ProblemError": {
    "type": "object", "required": ["message"], "additionalProperties": false,
    "properties": {
      "pointer": {"type": "string", "description": "RFC 6901: where in the body.", "examples": ["/routes/0/path"]},
      "message": {"type": "string"},
      "hint": {"type": ["string", "null"]},
      "line": {"type": "integer"}, "column": {"type": "integer"}
    }
  },
  "ResourceName": {
    "type": "object", "required": ["kind", "id", "name"], "additionalProperties": false,
    "properties": {"kind": {"type": "string"}, "id": {"type": "string"}, "name": {"type": ["string", "null"]}}
  },
  "HiddenSecret": {
    "description": "A secret as it reads back; written again it keeps the secret.",
    "type": "object", "required": ["$secret"], "additionalProperties": false,
    "properties": {"$secret": {"type": "string", "pattern": "^sha256:[0-9a-f]{16}$"}}
  },
  "StatusRanges": {
    "anyOf": [
      {"type": "integer", "minimum": 100, "maximum": 599},
      {"type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"},
      {"type": "array", "minItems": 1, "items": {"anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"}]}}
    ]
  },
  "Nothing": {"type": "object", "maxProperties": 0},
  "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
  "Status": {
    "type": "object", "required": ["status"], "additionalProperties": false,
    "properties": {"status": {"type": "string", "enum": ["live", "ready", "starting", "draining"]}}
  },
  "Index": {
    "type": "object", "required": ["name", "version", "endpoints", "kinds"], "additionalProperties": false,
    "properties": {
      "name": {"const": "sluice"},
      "version": {"type": "string"},
      "endpoints": {"type": "array", "items": {
        "type": "object", "required": ["method", "path", "summary"], "additionalProperties": false,
        "properties": {"method": {"type": "string"}, "path": {"type": "string"}, "summary": {"type": "string"}}}},
      "kinds": {"type": "array", "items": {"type": "string"}}
    }
  },
  "Health": {
    "type": "object", "required": ["status", "version", "uptimeSeconds", "workers", "snapshot", "connections", "requestsInFlight"],
    "additionalProperties": false,
    "properties": {
      "status": {"type": "string", "enum": ["ok", "degraded", "starting", "draining"]},
      "version": {"type": "string"},
      "uptimeSeconds": {"type": "integer", "minimum": 0},
      "workers": {"type": "object", "required": ["configured", "alive"], "additionalProperties": false,
        "properties": {"configured": {"type": "integer"}, "alive": {"type": "integer"}}},
      "snapshot": {"type": "object", "required": ["version", "routes"], "additionalProperties": false,
        "properties": {"version": {"type": "integer"}, "routes": {"type": "integer"}}},
      "instances": {"type": "object", "description": "Of services with a healthCheck.", "required": ["up", "down", "unknown"],
        "additionalProperties": false,
        "properties": {"up": {"type": "integer"}, "down": {"type": "integer"}, "unknown": {"type": "integer"}}},
      "connections": {"type": "integer"},
      "requestsInFlight": {"type": "integer"},
      "store": {"type": "object", "required": ["location", "available", "revision", "fromLocalCopy"], "additionalProperties": false,
        "properties": {
          "location": {"type": "string", "description": "Without a password."},
          "available": {"type": "boolean"},
          "revision": {"type": "integer"},
          "problem": {"type": ["string", "null"]},
          "awayForMs": {"type": "integer"},
          "fromLocalCopy": {"type": "boolean"}}},
      "gateways": {"type": "array", "description": "All that share the store, where it is PostgreSQL; one that was not seen for 30 s is not listed.", "items": {
        "type": "object", "required": ["id", "name", "version", "revision", "startedAt", "seenAgoMs", "self"], "additionalProperties": false,
        "properties": {
          "id": {"type": "string", "format": "uuid", "description": "Of its process: another one after a start."},
          "name": {"type": "string", "description": "Its host's name and the address of its admin API.", "examples": ["edge-1 127.0.0.1:9080"]},
          "version": {"type": "string"},
          "revision": {"type": "integer", "description": "In force there, when it was seen last."},
          "startedAt": {"type": "string", "format": "date-time"},
          "seenAgoMs": {"type": "integer", "minimum": 0},
          "self": {"type": "boolean", "description": "It is the one that answers."}}}}
    }
  },
  "InstanceHealth": {
    "description": "What checks said of an instance.",
    "type": "object", "required": ["instance", "state"], "additionalProperties": false,
    "properties": {
      "instance": {"type": "string", "examples": ["10.0.1.1:8080"]},
      "state": {"type": "string", "enum": ["unknown", "up", "down"]},
      "since": {"type": ["string", "null"], "format": "date-time"},
      "lastCheck": {"type": ["string", "null"], "format": "date-time"},
      "lastStatus": {"type": ["integer", "null"]},
      "reason": {"type": ["string", "null"]}
    }
  },
  "RouteStats": {
    "type": "object", "required": ["id", "name", "windows"], "additionalProperties": false,
    "properties": {
      "id": {"type": "string"},
      "name": {"type": "string"},
      "windows": {"type": "object", "required": ["1m", "5m", "total"], "additionalProperties": false,
        "properties": {
          "1m": {"$ref": "#/components/schemas/RouteStatsWindow"},
          "5m": {"$ref": "#/components/schemas/RouteStatsWindow"},
          "total": {"$ref": "#/components/schemas/RouteStatsWindow"}}}
    }
  },
  "RouteStatsWindow": {
    "description": "Counts are exact, latencies within 10 %.",
    "type": "object", "required": ["requests", "byStatusClass", "latencyMs", "bytesIn", "bytesOut", "upstreamErrors"],
    "additionalProperties": false,
    "properties": {
      "spanMs": {"type": "integer", "minimum": 0, "description": "How far it looks back: the minute's is 50 to 60 s, the five minutes' 270 to 300 s."},
      "requests": {"type": "integer", "minimum": 0},
      "byStatusClass": {"type": "object", "required": ["none", "1xx", "2xx", "3xx", "4xx", "5xx"], "additionalProperties": {"type": "integer", "minimum": 0}},
      "latencyMs": {"type": "object", "required": ["p50", "p90", "p99", "max"], "additionalProperties": {"type": "number", "minimum": 0}},
      "bytesIn": {"type": "integer", "minimum": 0},
      "bytesOut": {"type": "integer", "minimum": 0},
      "upstreamErrors": {"type": "integer", "minimum": 0, "description": "Requests that failed by the service's doing: not reached, broken off, late, no valid HTTP."}
    }
  },
  "RouteMirror": {
    "type": "object", "required": ["id", "name", "service", "inFlight", "requests", "meanMs", "comparisons", "differences"], "additionalProperties": false,
    "properties": {
      "id": {"type": "string"},
      "name": {"type": "string"},
      "service": {"type": "string", "description": "The service that gets the copies, as the policy names it."},
      "inFlight": {"type": "integer", "minimum": 0},
      "requests": {"type": "object", "required": ["answered", "failed", "cut", "busy", "shed", "tooLarge"], "additionalProperties": {"type": "integer", "minimum": 0}},
      "meanMs": {"type": "number", "minimum": 0, "description": "From a copy's being sent to its answer's end."},
      "comparisons": {"type": "object", "required": ["alike", "different", "notCompared", "leftOut"], "additionalProperties": {"type": "integer", "minimum": 0}},
      "differences": {"type": "array", "maxItems": 32, "description": "The latest first.", "items": {"$ref": "#/components/schemas/MirrorDifference"}}
    }
  },
  "MirrorDifference": {
    "type": "object", "required": ["time", "requestId", "method", "path", "differsIn", "primary", "mirror"], "additionalProperties": false,
    "properties": {
      "time": {"type": "string", "format": "date-time"},
      "requestId": {"type": "string"},
      "method": {"type": "string"},
      "path": {"type": "string", "description": "Without its query."},
      "differsIn": {"type": "string", "description": "status, header NAME, body, or a JSON pointer into the bodies."},
      "primary": {"$ref": "#/components/schemas/MirrorSide"},
      "mirror": {"$ref": "#/components/schemas/MirrorSide"}
    }
  },
  "MirrorSide": {
    "type": "object", "required": ["status", "ms", "is"], "additionalProperties": false,
    "properties": {
      "status": {"type": "integer"},
      "ms": {"type": "number", "minimum": 0, "description": "Until the answer's head was there."},
      "is": {"type": "string", "description": "What stands there, in kind: 200, absent, number, 42 bytes."},
      "value": {"type": "string", "description": "With showValues: the beginning of what stands there."}
    }
  },
  "Difference": {
    "type": "object", "required": ["pointer"], "additionalProperties": false,
    "properties": {"pointer": {"type": "string"}, "before": {}, "after": {}}
  },
  "ResourceChange": {
    "type": "object", "required": ["kind", "id", "change"], "additionalProperties": false,
    "properties": {
      "kind": {"type": "string"},
      "id": {"type": "string"},
      "name": {"type": ["string", "null"]},
      "change": {"type": "string", "enum": ["created", "updated", "deleted"]},
      "policy": {"type": "string", "description": "Of a plugin: its kind of policy."},
      "difference": {"type": "array", "items": {"$ref": "#/components/schemas/Difference"}}
    }
  },
  "Revision": {
    "type": "object", "required": ["revision", "at", "changes"], "additionalProperties": false,
    "properties": {
      "revision": {"type": "integer", "minimum": 1},
      "at": {"type": "string", "format": "date-time"},
      "author": {"type": ["string", "null"]},
      "source": {"type": ["string", "null"], "description": "The address it came from."},
      "comment": {"type": ["string", "null"]},
      "changes": {"type": "array", "items": {"$ref": "#/components/schemas/ResourceChange"}}
    }
  },
  "Trial": {
    "description": "A change of one resource that was only tried.",
    "type": "object", "required": ["valid", "outcome", "changes"], "additionalProperties": false,
    "properties": {
      "valid": {"const": true},
      "outcome": {"type": "string", "enum": ["created", "updated", "deleted", "unchanged"]},
      "changes": {"type": "array", "items": {"$ref": "#/components/schemas/ResourceChange"}}
    }
  },
  "WholeTrial": {
    "description": "A change of the configuration that was only tried.",
    "type": "object", "required": ["valid", "outcome", "created", "updated", "deleted", "changes"], "additionalProperties": false,
    "properties": {
      "valid": {"const": true},
      "outcome": {"type": "string", "enum": ["created", "updated", "deleted", "unchanged"]},
      "created": {"type": "integer"}, "updated": {"type": "integer"}, "deleted": {"type": "integer"},
      "changes": {"type": "array", "items": {"$ref": "#/components/schemas/ResourceChange"}},
      "warnings": {"type": "array", "items": {"type": "string"}, "description": "What is stored, but not acted on in this version."}
    }
  },
  "WholeChange": {
    "type": "object", "required": ["revision", "outcome", "created", "updated", "deleted", "changes"], "additionalProperties": false,
    "properties": {
      "revision": {"type": "integer"},
      "outcome": {"type": "string", "enum": ["created", "updated", "deleted", "unchanged"]},
      "created": {"type": "integer"}, "updated": {"type": "integer"}, "deleted": {"type": "integer"},
      "changes": {"type": "array", "items": {"$ref": "#/components/schemas/ResourceChange"}},
      "warnings": {"type": "array", "items": {"type": "string"}, "description": "What is stored, but not acted on in this version."}
    }
  },
  "Change": {
    "description": "A request that would change something, to be tried.",
    "type": "object", "required": ["method", "path"], "additionalProperties": false,
    "properties": {
      "method": {"type": "string", "enum": ["POST", "PUT", "PATCH", "DELETE"]},
      "path": {"type": "string", "pattern": "^/", "description": "With its query.", "examples": ["/admin/routes/users"]},
      "body": {"description": "What would be sent."}
    }
  },
  "Rotation": {
    "type": "object", "additionalProperties": false,
    "properties": {"overlap": {"type": "integer", "minimum": 0, "maximum": 31536000, "default": 86400,
      "description": "Seconds for which the key before is accepted too."}}
  }
});

const char openapi_parameters[] = OPENAPI_JSON({
  "id": {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}, "description": "An id (a UUID), or a name where it is unique."},
  "number": {"name": "number", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 1}, "description": "A revision's number."},
  "limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "description": "How many items a page has."},
  "cursor": {"name": "cursor", "in": "query", "schema": {"type": "string"}, "description": "The `nextCursor` of the page before."},
  "serviceId": {"name": "serviceId", "in": "query", "schema": {"type": "string"}, "description": "Only what names this service; by id or name."},
  "routeId": {"name": "routeId", "in": "query", "schema": {"type": "string"}, "description": "Only what names this route; by id or name."},
  "tag": {"name": "tag", "in": "query", "schema": {"type": "string"}, "description": "Only what carries this tag."},
  "name": {"name": "name", "in": "query", "schema": {"type": "string"}, "description": "Only what has this name."},
  "enabled": {"name": "enabled", "in": "query", "schema": {"type": "boolean"}, "description": "Only what is, or is not, in force."},
  "clientId": {"name": "clientId", "in": "query", "schema": {"type": "string"}, "description": "Only keys of this client."},
  "cascade": {"name": "cascade", "in": "query", "schema": {"type": "boolean", "default": false}, "description": "Deletes what uses it too."},
  "dryRun": {"name": "dryRun", "in": "query", "schema": {"type": "boolean", "default": false}, "description": "Checks everything and changes nothing."},
  "comment": {"name": "comment", "in": "query", "schema": {"type": "string"}, "description": "Stands in the revision."},
  "If-Match": {"name": "If-Match", "in": "header", "schema": {"type": "string"}, "description": "The ETag that was read: 412 where somebody else has changed it meanwhile."},
  "If-None-Match": {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}, "description": "GET: 304 where it has one of these ETags still. PUT: 412 where it has one of these; `*`: only where it is not there yet."}
});

const char openapi_headers[] = OPENAPI_JSON({
  "ETag": {"required": true, "schema": {"type": "string", "pattern": "^\"[^\"]+\"$"}, "description": "Strong; changes with the content."},
  "Location": {"required": true, "schema": {"type": "string", "pattern": "^/admin/"}, "description": "Where it is."},
  "Sluice-Revision": {"required": true, "schema": {"type": "integer", "minimum": 0}, "description": "The revision in force."}
});

const char *const openapi_examples[RESOURCE_KIND_COUNT] = {
    [RESOURCE_SERVICE] = OPENAPI_JSON({"name": "user-service", "instances": ["10.0.1.1:8080", "10.0.1.2:8080"],
                                       "healthCheck": {"path": "/health", "interval": 10}}),
    [RESOURCE_ROUTE] = OPENAPI_JSON({"name": "user-routes", "path": "/api/v1/users/*", "serviceId": "user-service",
                                     "methods": ["GET", "POST"], "stripPrefix": true}),
    [RESOURCE_PLUGIN] = OPENAPI_JSON({"name": "cors", "config": {"origins": ["https://example.com"]}, "routes": ["user-routes"]}),
    [RESOURCE_RATE_LIMIT] = OPENAPI_JSON({"name": "default", "limit": 1000, "window": 60, "key": "client_id"}),
    [RESOURCE_ROLE] = OPENAPI_JSON({"name": "reader", "scopes": ["users:read"],
                                    "permissions": [{"methods": ["GET"], "routes": ["user-routes"]}]}),
    [RESOURCE_CERTIFICATE] = OPENAPI_JSON({"name": "example.com", "certificate": "${file:/etc/ssl/example.com.pem}",
                                           "key": "${file:/etc/ssl/private/example.com.pem}"}),
    [RESOURCE_API_KEY] = OPENAPI_JSON({"clientName": "a phone app", "clientId": "phone-app", "scopes": ["users:read"],
                                       "rateLimitTier": "standard"}),
};
/* clang-format on */
