import { expect, test } from "vitest";
import { isRefused, literalAddress } from "./addresses.js";

test.each([
  "169.254.169.254",
  "::ffff:169.254.169.254",
  "64:ff9b::a9fe:a9fe",
  "fe80::1",
  "fd00:ec2::254",
  "fd20:ce::254",
  "168.63.129.16",
  "100.100.100.200",
  "2002:a9fe:a9fe::1",
  "64:ff9b:1::a9fe:a9fe",
  "64:ff9b:1:a9fe:a9:fe00::",
  "::ffff:0:a9fe:a9fe",
  "::a9fe:a9fe",
  "0.0.0.0",
  "::",
  "224.0.0.1",
  "255.255.255.255",
])("%s is no target", (address) => {
  expect(isRefused(address)).toBe(true);
});

test.each([
  "10.0.0.7",
  "192.168.1.1",
  "127.0.0.1",
  "::1",
  "::ffff:10.0.0.7",
  "fd12::1",
  "fd20:ce::253",
  "203.0.113.9",
  "2001:db8::1",
])("%s may be one", (address) => {
  expect(isRefused(address)).toBe(false);
});

test.each([
  ["http://169.254.169.254/x", "169.254.169.254"],
  ["http://[fe80::1]:80/", "fe80::1"],
  // The URL parser reads all the ways to write an address.
  ["http://2852039166/", "169.254.169.254"],
  ["http://0xa9.0xfe.0xa9.0xfe/", "169.254.169.254"],
  ["http://hooks.example.com/", null],
])("the host of %s", (url, address) => {
  expect(literalAddress(new URL(url).hostname)).toBe(address);
});
