<?php
// The documented file_get_contents sample (T14): no User-Agent, no Accept. Contract: ../README.md
require __DIR__ . '/cases.php';

function status(array $head): int
{
    return (int) explode(' ', $head[0])[1];
}

// GET
$answer = file_get_contents("$url/inbox?msggo-key=$key&event=your-event-name");
report('T14', status($http_response_header), json_decode($answer, true), ['event' => 'your-event-name'], 200, $ok);

// http_build_query nests with brackets.
$event = ['event' => 'nested', 'items' => ['a', 'b'], 'user' => ['name' => 'Ann Lee']];
$post = ['method' => 'POST', 'header' => "X-MsgGO-Key: $key\r\nContent-Type: application/x-www-form-urlencoded", 'content' => http_build_query($event)];
$answer = file_get_contents("$url/inbox", false, stream_context_create(['http' => $post]));
report('http-build-query', status($http_response_header), json_decode($answer, true), $event, 200, $ok);

exit($failed ? 1 : 0);
