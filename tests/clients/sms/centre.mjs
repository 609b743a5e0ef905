// A message centre for tests: node-smpp reads what comes and prints it. Contract: ../README.md
//
// First line of standard output: {"port": N}. Then {"bound": USER} for each bind, {"submit": {…}} for each segment, {"answered": STATUS} for
// each answer to what it delivered. Every segment is taken and its receipt says DELIVRD. Standard input takes a JSON object a line:
// {"deliver": {"from", "to", "text"}} is a message from a handset, in as many parts as "parts" says (one after the other is answered), and
// {"drop": true} cuts the connection. It ends when its standard input does.
import { createInterface } from "node:readline";
import smpp from "smpp";

const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
let session;
let taken = 0;

const server = smpp.createServer((connected) => {
  connected.on("error", () => {});
  connected.on("bind_transceiver", (pdu) => {
    const known = pdu.system_id === "me" && pdu.password === "pw";
    connected.send(pdu.response({ command_status: known ? smpp.ESME_ROK : smpp.ESME_RINVPASWD, system_id: "centre" }));
    if (known) {
      session = connected;
      print({ bound: pdu.system_id });
    }
  });
  connected.on("submit_sm", (pdu) => {
    const id = `node-${++taken}`;
    const { message, udh } = pdu.short_message;
    print({
      submit: {
        id,
        from: pdu.source_addr,
        to: pdu.destination_addr,
        text: message,
        coding: pdu.data_coding,
        receipt: pdu.registered_delivery,
        part: udh ? [...udh[0]] : null,
      },
    });
    connected.send(pdu.response({ message_id: id }));
    connected.deliver_sm(
      {
        esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
        source_addr_ton: 1,
        source_addr: pdu.destination_addr,
        destination_addr: pdu.source_addr,
        data_coding: 0,
        short_message: `id:${id} sub:001 dlvrd:001 submit date:2511211907 done date:2511211908 stat:DELIVRD err:000 text:`,
      },
      (response) => print({ answered: response.command_status }),
    );
  });
  connected.on("enquire_link", (pdu) => connected.send(pdu.response()));
  connected.on("unbind", (pdu) => {
    connected.send(pdu.response());
    connected.close();
  });
});

function deliver({ from, to, text, parts = 1 }) {
  const size = Math.ceil(text.length / parts);
  for (let number = 1; number <= parts; number++) {
    const message = text.slice((number - 1) * size, number * size);
    const ascii = /^[\x20-\x7e\n]*$/.test(text);
    const pdu = { source_addr_ton: 1, source_addr: from, destination_addr: to, data_coding: ascii ? 0 : 8 };
    pdu.short_message = parts > 1 ? { udh: Buffer.from([5, 0, 3, 77, parts, number]), message } : message;
    session.deliver_sm(pdu, (response) => print({ answered: response.command_status }));
  }
}

server.listen(0, "127.0.0.1", () => print({ port: server.address().port }));
const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const command = JSON.parse(line);
  if (command.deliver) deliver(command.deliver);
  if (command.drop) session.destroy();
});
commands.on("close", () => process.exit(0));
