<?php
// What the official PHP SDK sends and how it reads the answer (T20, MSGGO-84), as MsgGO's specification describes it: the answer must be
// JSON with `ok`, and an error must carry `errors[0]` with `error` and `message`, or the SDK itself breaks. Contract: ../README.md
declare(strict_types=1);
require __DIR__ . '/cases.php';

final class ApiException extends RuntimeException
{
    public function __construct(string $message, int $code, public readonly string $error)
    {
        parent::__construct($message, $code);
    }
}

final class Client
{
    public function __construct(private string $apiKey, private string $baseUrl)
    {
    }

    /** Sends an event; true when it was accepted. */
    public function event(array $event): bool
    {
        $request = curl_init($this->baseUrl . '/inbox');
        curl_setopt_array($request, [
            CURLOPT_POST => true,
            CURLOPT_POSTFIELDS => json_encode($event, JSON_THROW_ON_ERROR),
            CURLOPT_HTTPHEADER => ['Content-Type: application/json', 'Accept: application/json', 'X-MsgGO-Key: ' . $this->apiKey],
            CURLOPT_RETURNTRANSFER => true,
        ]);
        $answer = curl_exec($request);
        $status = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
        curl_close($request);
        $decoded = json_decode((string) $answer, true, flags: JSON_THROW_ON_ERROR);
        if ($status >= 400) {
            $first = $decoded['errors'][0];
            throw new ApiException($this->text($first['message']), $status, $this->text($first['error']));
        }
        if (!is_array($decoded) || !array_key_exists('ok', $decoded)) {
            throw new UnexpectedValueException('malformed answer');
        }
        return $decoded['ok'];
    }

    private function text(string $value): string
    {
        return $value;
    }
}

$event = ['event' => 'my-event', 'username' => 'john_doe', 'amount' => 12.5, 'tags' => ['a', 'ü']];
report('T20', 200, (new Client($key, $url))->event($event), $event, 200, true);

try {
    (new Client('bad', $url))->event($event);
    report('T20-bad-key', 200, null, null, 401, null);
} catch (ApiException $exception) {
    report('T20-bad-key', $exception->getCode(), [$exception->error, $exception->getMessage()], null, 401,
        ['unauthorized', 'API key missing in the request']);
}

exit($failed ? 1 : 0);
