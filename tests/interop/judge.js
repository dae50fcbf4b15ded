// Reads cases as JSON, prints what @eyevinn/cat says of each: its status and message.
// A case is a request with a lease; the other direction mints one.
const { CAT, HttpValidator } = require('@eyevinn/cat');

async function judge({ keyId, key, cases }) {
  const validator = new HttpValidator({
    keys: [{ kid: keyId, key }],
    issuer: 'playhead',
    autoRenewEnabled: false,
  });
  const answers = [];
  for (const { lease, path, method } of cases) {
    const headers = { host: 'edge.example', 'cta-common-access-token': lease };
    try {
      const { status, message } = await validator.validateHttpRequest(
        { headers, url: path, method },
        { setHeader() {} },
      );
      answers.push({ status, message: message || '' });
    } catch (error) {
      answers.push({ status: 0, message: error.message });
    }
  }
  return answers;
}

async function mint({ keyId, key, claims, epoch }) {
  const minter = new CAT({ keys: { [keyId]: key }, expectCwtTag: true });
  const wanted = { ...claims, '-65537': BigInt(epoch) };
  return minter.generate(wanted, { type: 'mac', alg: 'HS256', kid: keyId });
}

async function main() {
  const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  input.key = Buffer.from(input.key, 'hex');
  const output = input.claims ? await mint(input) : await judge(input);
  process.stdout.write(JSON.stringify(output));
}

main();
