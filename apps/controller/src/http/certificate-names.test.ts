import { expect, test } from "vitest";
import { certificateNames } from "./certificate-names.js";

test.each([
  ["the common name", "O=Example\nCN=node-a", undefined, ["node-a"]],
  [
    "DNS names",
    "CN=node-a",
    "DNS:node-a.example.com, DNS:Agent-1, IP Address:10.0.0.1",
    ["node-a", "node-a.example.com", "agent-1"],
  ],
  ["no name of a URI or an address", "CN=10", "URI:urn:x, IP Address:10.0.0.1", ["10"]],
  ["none of two common names", "CN=a\nCN=b", undefined, []],
  ["none that could be no agent's", "CN=Node A", "DNS:*.example.com", []],
  ["none where one name looks like two", "CN=evil corp", 'DNS:"x, DNS:node-a, y"', []],
  ["none", "O=Example", undefined, []],
])("%s", (_what, subject, subjectAltName, names) =>
  expect(certificateNames({ subject, subjectAltName })).toEqual(names),
);
